//! Classification: from a reply to its verdict.
//!
//! The rules (`engine::rule`) say what a reply means; this file says what they are asked and what may
//! come of the answer. Where a reply contradicts itself:
//!
//! - **What is said outranks how it is numbered**: text and provider before status, status before code.
//! - **The three digits say whether to try again** (RFC 5321 §4.2.1), and the MTA acts on them: `550
//!   4.2.2` is permanent, `450 5.1.1` is not. But nothing of a recipient's or a domain's is held to be
//!   permanent while either number says that it is not.
//! - **What the MTA goes on trying is not permanent**: a refused session, or a 5xx that it reports as
//!   4.x, which was a greeting or the like. Such a reply is about us, never about the recipient.
//! - The reporter's own status counts where the reply has none and the digits do not gainsay it.
//! - Where a text condemns an address and also speaks of a sender, it takes several like it.
//! - Where a text without digits quotes a reply (`… said: 550 5.1.1 …`), the quoted reply is judged.
//!
//! Nothing here fails: what no rule knows is [`Cause::Unknown`], and nobody is suppressed for it.

mod doubt;

use super::normal::normalise_into;
use super::provider::Providers;
use super::rule::{Question, Rule, RuleSet};
use super::throttle::LaneKey;
use super::verdict::{Cause, Remedy, Scope, Verdict};
use crate::mail::address::{Address, LocalPart};
use crate::mail::event::{Event, Evidence, Outcome, Source};
use crate::mail::reply::{Reply, ReplyCode};
use crate::mail::status::{Class, EnhancedStatus};
use doubt::doubted;
use memchr::memmem::Finder;
use std::cell::RefCell;
use std::sync::{Arc, LazyLock};

/// What the server was answering to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// The connection, EHLO, STARTTLS or AUTH: about us.
    Session,
    /// MAIL FROM: about our sender.
    Sender,
    /// RCPT TO: about the recipient, if about anyone.
    Recipient,
    /// DATA or its end: about the message, and about all its recipients at once.
    Message,
    /// Nobody said.
    Unknown,
}

impl Phase {
    /// The phase of a command as Postfix names it (`RCPT TO`, `end of DATA`).
    #[must_use]
    pub fn of_command(command: &str) -> Self {
        let command = command.trim().to_ascii_uppercase();
        match command.as_str() {
            "MAIL FROM" => Self::Sender,
            "RCPT TO" => Self::Recipient,
            "DATA" | "END OF DATA" | "BDAT" => Self::Message,
            "GREETING" | "EHLO" | "HELO" | "LHLO" | "STARTTLS" | "AUTH" => Self::Session,
            _ => Self::Unknown,
        }
    }

    /// The phase that a report names in its own words, as those of Exim and of dma do.
    fn of_report(text: &str) -> Option<Self> {
        let command = ["remote mail server after ", "did not like our "]
            .into_iter()
            .find_map(|frame| text.split_once(frame))
            .map(|(_, command)| command)?;
        let names = [
            ("MAIL FROM", Self::Sender),
            ("RCPT TO", Self::Recipient),
            ("end of DATA", Self::Message),
            ("final DATA", Self::Message),
            ("DATA", Self::Message),
            ("pipelined", Self::Unknown),
            ("initial connection", Self::Session),
            ("EHLO", Self::Session),
            ("HELO", Self::Session),
            ("STARTTLS", Self::Session),
        ];
        let named = names.into_iter().find(|(name, _)| command.starts_with(name));
        named.map(|(_, phase)| phase)
    }

    /// The phase that a reply gives away: `(in reply to MAIL FROM command)` at its end, or a 5xx that
    /// the MTA reports as temporary.
    fn of(reply: &Reply, reported: Option<EnhancedStatus>) -> Self {
        let named = match framed(&reply.text) {
            Some((_, command)) => Some(Self::of_command(command)),
            None if reply.code.is_none() => Self::of_report(&reply.text),
            None => None,
        };
        let refused = reply.code.is_some_and(ReplyCode::is_permanent)
            && reported.is_some_and(|s| s.class() == Class::Persistent);
        match named {
            Some(phase) if phase != Self::Unknown => phase,
            _ if refused || REFUSED.find(reply.text.as_bytes()).is_some() => Self::Session,
            _ => Self::Unknown,
        }
    }
}

/// Judges a reply. `reported_status` is the reporter's own (`dsn=`, `Status:`); `provider` is who runs
/// the server, as [`Question::provider`] has it.
#[must_use]
pub fn classify(
    rules: &RuleSet,
    reply: &Reply,
    reported_status: Option<EnhancedStatus>,
    provider: Option<&str>,
) -> Verdict {
    let phase = Phase::of(reply, reported_status);
    classify_in(rules, reply, reported_status, provider, phase)
}

/// As [`classify`], for a caller who knows what the server was answering to.
#[must_use]
pub fn classify_in(
    rules: &RuleSet,
    reply: &Reply,
    reported_status: Option<EnhancedStatus>,
    provider: Option<&str>,
    phase: Phase,
) -> Verdict {
    let quoted = match reply.code {
        None => Reply::quoted_in(&reply.text),
        Some(_) => None,
    };
    let reply = quoted.as_ref().unwrap_or(reply);
    BUFFER.with_borrow_mut(|text| {
        normalise_into(without_frame(&reply.text), text);
        let question = Question {
            text,
            code: reply.code,
            status: reply.status.or_else(|| agreeing(reported_status, reply.code)),
            provider,
        };
        let permanent = |cause| is_permanent(cause, reply, reported_status);
        let verdict = match winner(rules, &question) {
            Some(Winner {
                rule,
                sub_cause,
                lent,
            }) => {
                let permanent = phase != Phase::Session && permanent(rule.cause);
                lending(judged(rule, sub_cause, permanent), lent)
            }
            None => plain(Cause::Unknown, permanent(Cause::Unknown), "none"),
        };
        doubted(guarded(verdict, phase, text), text)
    })
}

/// The rule that wins.
struct Winner<'a> {
    rule: &'a Rule,
    sub_cause: Option<Arc<str>>,
    lent: Option<Lent>,
}

/// That a rule is about another provider's words than those of who answered.
#[derive(Clone, Copy)]
struct Lent {
    /// Whether general rules, too, say that it is about the recipient or the domain.
    confirmed: bool,
}

/// Asks the rules. Of whom no rule is about, a host that is no provider's or a provider without rules of its own, the texts
/// of all are tried: software and words are handed on.
fn winner<'a>(rules: &'a RuleSet, question: &Question<'_>) -> Option<Winner<'a>> {
    let strange = question
        .provider
        .is_some_and(|provider| !rules.is_about(provider));
    let anybodys = Question {
        provider: question.provider.filter(|_| !strange),
        ..*question
    };
    let (rule, sub_cause) = rules.find(&anybodys)?;
    if !strange || rule.is_general() {
        return Some(Winner {
            rule,
            sub_cause,
            lent: None,
        });
    }
    let general = rules.find(question);
    let lent = Lent {
        confirmed: general
            .as_ref()
            .is_some_and(|(rule, _)| matches!(rule.cause.scope(), Scope::Recipient | Scope::Domain)),
    };
    // What a general text of the same cause says is to be lowered is meant for everybody.
    let same = general.filter(|(general, _)| general.throttle.is_some() && general.cause == rule.cause);
    let lent = same.is_none().then_some(lent);
    let (rule, sub_cause) = same.unwrap_or((rule, sub_cause));
    Some(Winner {
        rule,
        sub_cause,
        lent,
    })
}

/// What another provider's words mean here: the cause, but not how long that provider wants to be left alone, and nobody's
/// death at once on its word alone.
fn lending(verdict: Verdict, lent: Option<Lent>) -> Verdict {
    let Some(Lent { confirmed }) = lent else {
        return verdict;
    };
    let remedy = match verdict.remedy {
        Remedy::Suppress if !confirmed => Remedy::SuppressIfRepeated,
        other => other,
    };
    Verdict {
        hold: None,
        remedy,
        ..verdict
    }
}

/// What Postfix says of a server that greeted it with a refusal.
static REFUSED: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("refused to talk to me: "));

thread_local! {
    /// Where texts are brought into their normal form, one after the other.
    static BUFFER: RefCell<String> = const { RefCell::new(String::new()) };
}

/// The text without the frame that Postfix closes it with.
fn without_frame(text: &str) -> &str {
    match framed(text) {
        Some((said, _)) => said.trim_end(),
        None => text,
    }
}

/// What was said, and the command that it replied to: `… (in reply to RCPT TO command)`.
fn framed(text: &str) -> Option<(&str, &str)> {
    const FRAME: &str = "(in reply to ";
    let inner = text.strip_suffix(')')?;
    // The last one, from its first octet: building a search for it costs more than finding it.
    let at = memchr::memrchr_iter(b'(', inner.as_bytes()).find(|&at| inner[at..].starts_with(FRAME))?;
    let command = &inner[at + FRAME.len()..];
    Some((&inner[..at], command.strip_suffix(" command").unwrap_or(command)))
}

/// Judges an event, and says whose limits it speaks of. A lane is known only where our own MTA tells
/// of a server that it talked to: notifications arrive hours late, and from forwarders too.
#[must_use]
pub fn judge(
    rules: &RuleSet,
    providers: &Providers,
    egress: &str,
    event: &Event,
) -> (Verdict, Option<LaneKey>) {
    let lane = lane(providers, egress, event);
    let verdict = match event.outcome {
        Outcome::Delivered | Outcome::Relayed => plain(Cause::Delivered, false, "outcome.delivered"),
        Outcome::Expired => expired(rules, providers, event),
        Outcome::Complaint => plain(Cause::Complaint, true, "outcome.complaint"),
        // Somebody's own words: shown for what they say, and nothing comes of them.
        Outcome::AutoReply => Verdict {
            remedy: Remedy::None,
            ..plain(Cause::MailboxDisabled, false, "outcome.auto-reply")
        },
        Outcome::Deferred | Outcome::Failed => failure(rules, providers, event),
    };
    (verdict, lane)
}

fn failure(rules: &RuleSet, providers: &Providers, event: &Event) -> Verdict {
    let host = event.relay.as_ref().map(|relay| relay.host.as_str());
    let provider = host.and_then(|host| providers.speaker(host));
    let phase = match event.command.as_deref().map(Phase::of_command) {
        Some(phase) if phase != Phase::Unknown => phase,
        _ => Phase::of(&event.reply, event.reported_status),
    };
    let verdict = classify_in(rules, &event.reply, event.reported_status, provider, phase);
    if event.evidence == Evidence::Repeat {
        return Verdict {
            remedy: Remedy::None,
            hold: None,
            ..verdict
        };
    }
    // It may be another's fault than theirs whose address we have, or another fault.
    if event.evidence == Evidence::Doubtful && verdict.remedy == Remedy::Suppress {
        return Verdict {
            remedy: Remedy::SuppressIfRepeated,
            ..verdict
        };
    }
    // A reply to the message counts for all its recipients, though it may speak of one of them only.
    let about_another = phase == Phase::Message && !names(&event.reply.text, event);
    if about_another && verdict.remedy == Remedy::Suppress {
        return plain(Cause::Unknown, verdict.permanent, "guard.other-recipient");
    }
    verdict
}

/// Mail that grew too old died of what was said last; of nobody's permanent fault.
fn expired(rules: &RuleSet, providers: &Providers, event: &Event) -> Verdict {
    let last = failure(rules, providers, event);
    if last.cause == Cause::Unknown {
        return plain(Cause::Expired, false, "outcome.expired");
    }
    Verdict {
        permanent: false,
        remedy: match last.remedy {
            Remedy::None => Remedy::None,
            _ => last.cause.remedy(false),
        },
        ..last
    }
}

/// Whether a text names the recipient of the event, as tried or as mailed.
fn names(text: &str, event: &Event) -> bool {
    let key = |address: &Address| address.key(LocalPart::Fold);
    let ours = [Some(&event.recipient), event.original_recipient.as_ref()];
    addresses(text)
        .filter_map(|(start, end)| Address::parse(text[start..end].trim_end_matches('.')).ok())
        .any(|named| ours.iter().flatten().any(|our| key(our) == key(&named)))
}

fn lane(providers: &Providers, egress: &str, event: &Event) -> Option<LaneKey> {
    let told_by_log = event.source == Source::Log && event.evidence == Evidence::Fresh;
    let relay = event
        .relay
        .as_ref()
        .filter(|relay| told_by_log && !relay.host.is_empty() && !relay.is_local())?;
    Some(LaneKey {
        provider: providers.provider_of_relay(&relay.host),
        egress: egress.to_owned(),
    })
}

/// The verdict of a rule, given what the numbers say of permanence.
fn judged(rule: &Rule, sub_cause: Option<Arc<str>>, permanent: bool) -> Verdict {
    let permanent = rule.permanent.unwrap_or(permanent);
    // A remedy that suppresses is for permanent faults only, whoever wrote the rule.
    let own_remedy = rule.remedy.filter(|&r| r != Remedy::Suppress || permanent);
    Verdict {
        cause: rule.cause,
        sub_cause,
        scope: rule.cause.scope(),
        permanent,
        remedy: own_remedy.unwrap_or_else(|| rule.cause.remedy(permanent)),
        rule: rule.id.clone(),
        hold: rule.hold,
        throttle: rule.throttle,
        advice: rule.advice.clone(),
    }
}

fn plain(cause: Cause, permanent: bool, rule: &str) -> Verdict {
    Verdict {
        cause,
        sub_cause: None,
        scope: cause.scope(),
        permanent,
        remedy: cause.remedy(permanent),
        rule: rule.into(),
        hold: None,
        throttle: None,
        advice: None,
    }
}

/// Whether trying again is useless (see the head of this file).
fn is_permanent(cause: Cause, reply: &Reply, reported: Option<EnhancedStatus>) -> bool {
    let is = |class: Class| move |status: EnhancedStatus| status.class() == class;
    if reported.is_some_and(is(Class::Persistent)) {
        return false;
    }
    let of_recipient = matches!(cause.scope(), Scope::Recipient | Scope::Domain);
    if of_recipient && reply.status.is_some_and(is(Class::Persistent)) {
        return false;
    }
    let status = reply.status.or(reported);
    match (reply.code, status) {
        (Some(code), _) => code.is_permanent(),
        (None, Some(status)) => status.class() == Class::Permanent,
        // Words only, as local agents speak: what they say of an address or a message stays so.
        (None, None) => {
            let passing = matches!(cause, Cause::MailboxFull | Cause::MailboxUnavailable);
            let ours = matches!(cause, Cause::AuthFailed | Cause::SenderRejected);
            (of_recipient && !passing) || ours || cause.scope() == Scope::Message
        }
    }
}

/// The reporter's status, where the digits do not gainsay it.
pub(super) fn agreeing(reported: Option<EnhancedStatus>, code: Option<ReplyCode>) -> Option<EnhancedStatus> {
    reported.filter(|status| code.is_none_or(|code| code.get() / 100 == status.class() as u16))
}

/// The text of a reply as the rules are asked about it.
pub(super) fn asked(text: &str) -> String {
    super::normal::normalised(without_frame(text))
}

/// The first rule of the house, once more: an answer to something else than the recipient is not about
/// the recipient, whatever it says. To the message it may be, if it names an address.
fn guarded(verdict: Verdict, phase: Phase, masked: &str) -> Verdict {
    if !matches!(verdict.scope, Scope::Recipient | Scope::Domain) {
        return verdict;
    }
    let strikes = matches!(verdict.remedy, Remedy::Suppress | Remedy::SuppressIfRepeated);
    let permanent = verdict.permanent;
    match phase {
        Phase::Session => plain(Cause::PolicyRejected, permanent, "guard.session"),
        Phase::Sender => plain(Cause::SenderRejected, permanent, "guard.sender"),
        // Whoever took the recipients and then misses a domain, misses one of the header's.
        Phase::Message if verdict.cause == Cause::DomainNotFound => {
            plain(Cause::SenderRejected, permanent, "guard.message-domain")
        }
        Phase::Message if strikes && !masked.contains('@') && verdict.cause != Cause::MailboxFull => {
            plain(Cause::Unknown, permanent, "guard.message")
        }
        Phase::Message | Phase::Recipient | Phase::Unknown => verdict,
    }
}

/// Where addresses stand in a text, roughly: runs around an `@` up to white space and brackets.
pub(super) fn addresses(text: &str) -> impl Iterator<Item = (usize, usize)> + '_ {
    let outside =
        |c: char| c.is_whitespace() || matches!(c, '<' | '>' | '(' | ')' | '[' | ']' | ',' | ';' | ':');
    let mut from = 0;
    std::iter::from_fn(move || {
        let at = from + memchr::memchr(b'@', &text.as_bytes()[from..])?;
        let before = &text[from..at];
        let quoted = before
            .ends_with('"')
            .then(|| before[..before.len() - 1].rfind('"'))
            .flatten();
        let start = quoted.unwrap_or_else(|| {
            before
                .char_indices()
                .rev()
                .find(|&(_, c)| outside(c))
                .map_or(0, |(i, c)| i + c.len_utf8())
        });
        let end = text[at..].find(outside).map_or(text.len(), |length| at + length);
        let found = (from + start, end);
        from = end;
        Some(found)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_have_phases() {
        assert_eq!(Phase::of_command("end of DATA"), Phase::Message);
        assert_eq!(Phase::of_command("MAIL FROM"), Phase::Sender);
        assert_eq!(Phase::of_command("XFORWARD"), Phase::Unknown);
        let reply = Reply::parse("550 5.1.1 unknown (in reply to MAIL FROM command)");
        assert_eq!(Phase::of(&reply, None), Phase::Sender);
        let greeting = Reply::parse("554 5.7.1 go away");
        assert_eq!(Phase::of(&greeting, "4.7.1".parse().ok()), Phase::Session);
        let table = [
            (
                "SMTP error from remote mail server after MAIL FROM:<a@x.test>: no",
                Phase::Sender,
            ),
            (
                "SMTP error from remote mail server after end of DATA: no",
                Phase::Message,
            ),
            (
                "mx.x.test [192.0.2.1] did not like our RCPT TO: no",
                Phase::Recipient,
            ),
            ("nobody says", Phase::Unknown),
        ];
        for (text, phase) in table {
            assert_eq!(Phase::of(&Reply::parse(text), None), phase, "{text}");
        }
    }
}

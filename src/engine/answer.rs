//! What the hooks answer, from what is in [`Memory`].
//!
//! Both protocols ask about one address; [`Finding`] is what is known about it, and the answers are
//! its translations. Which entry answers where several fit, [`Memory::suppressed`] says; the allow list comes before
//! all of them, and a lane's hold after. Only the policy service knows the stream of the mail: look-ups in maps find
//! what is about all mail. Where an address cannot be read (a bare `postmaster`, the null address, a partial
//! key such as `*` or a domain) nothing is found: mail is only ever held up by what is known.

use super::gate::stream::Streams;
use super::gate::{Hold, OURS, Why};
use super::memory::{Found, Memory, Question};
use super::suppression::privacy::Veil;
use super::suppression::{AllowList, Standing};
use crate::mail::address::{Address, LocalPart};
use crate::postfix::{milter, policy, socketmap};
use jiff::Timestamp;
use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::sync::Arc;

/// What the operator may change about answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// How local parts compare.
    pub local_part: LocalPart,
    /// Whose lanes we ask about (`[egress] name`).
    pub egress: String,
    /// What the policy service says about a recipient behind a held lane. The mail is accepted by
    /// default: it waits in our queue rather than in somebody else's.
    pub held: OnHeld,
    /// From how many waiting recipients of its lane on the policy service puts a recipient off; `None` is never.
    pub max_backlog: Option<usize>,
    /// What all hooks say before memory is loaded.
    pub unloaded: OnUnloaded,
    /// Who is mailed whatever is known of them.
    pub allow: AllowList,
    /// What is kept of addresses.
    pub veil: Veil,
    /// What is said about a recipient whose entry is in quarantine.
    pub quarantined: OnQuarantined,
    /// The kinds of mail, which the policy service tells apart.
    pub streams: Arc<Streams>,
    /// The Postfix transports of providers that have one of their own, by the providers' ids.
    pub transports: HashMap<String, String>,
    /// Where people learn more: stands behind the id in every refusal. One line of ASCII.
    pub look_up: String,
}

/// What the policy service says about a recipient behind a held lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnHeld {
    /// `DUNNO`: accept, and let the transport map hold it.
    #[default]
    Accept,
    /// `450 4.7.1`: the client is to come again.
    Defer,
}

/// What the hooks say about a recipient whose entry is in quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnQuarantined {
    /// Mail passes: what comes of it shows whether the entry is right.
    #[default]
    Pass,
    /// Mail is put off until that is known.
    Defer,
}

/// What the hooks say before memory is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnUnloaded {
    /// Mail passes as if nothing were known.
    #[default]
    Pass,
    /// Mail is put off: nothing reaches an address that may be suppressed.
    Defer,
}

/// What is known about an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Nothing that speaks against mailing it.
    Nothing,
    /// It is suppressed.
    Suppressed(Found),
    /// Its entry is in quarantine, and the operator wants mail to wait.
    Quarantined(Found),
    /// Its provider's lane is held.
    Held(Hold),
    /// Memory is not loaded, and the operator wants mail to wait for it.
    Unloaded,
}

/// The maps that the socketmap service has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Map {
    /// For `check_recipient_access`: suppressed addresses to a refusal.
    Access,
    /// For `transport_maps`: suppressed addresses to `error:`, those behind a held lane to `retry:`.
    Transport,
    /// Suppressed addresses to the name of the cause.
    Suppressed,
}

/// There is no such map.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected one of the maps access, transport, suppressed, found {0:?}")]
pub struct NoSuchMap(pub String);

impl Default for Settings {
    fn default() -> Self {
        Self {
            local_part: LocalPart::default(),
            egress: "default".into(),
            held: OnHeld::default(),
            max_backlog: None,
            allow: AllowList::default(),
            veil: Veil::default(),
            quarantined: OnQuarantined::default(),
            streams: Arc::default(),
            unloaded: OnUnloaded::default(),
            transports: HashMap::new(),
            look_up: "the postmaster can look it up".into(),
        }
    }
}

impl Map {
    /// Every map.
    pub const ALL: [Self; 3] = [Self::Access, Self::Transport, Self::Suppressed];

    /// Its name, as in `socketmap:unix:/path:transport`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Transport => "transport",
            Self::Suppressed => "suppressed",
        }
    }

    /// The map of a name.
    ///
    /// # Errors
    /// [`NoSuchMap`], which lists those there are.
    pub fn from_name(name: &str) -> Result<Self, NoSuchMap> {
        Self::ALL
            .into_iter()
            .find(|map| map.name() == name)
            .ok_or_else(|| NoSuchMap(name.chars().take(60).collect()))
    }
}

/// What is known about the recipient of a policy request, and what Postfix is to do. Only the state
/// `RCPT` is about one recipient; elsewhere there is no opinion.
#[must_use]
pub fn policy(
    memory: &Memory,
    request: &policy::Request<'_>,
    settings: &Settings,
    now: Timestamp,
) -> (Finding, policy::Action) {
    if request.protocol_state != "RCPT" {
        return (Finding::Nothing, policy::Action::Dunno);
    }
    let by = (request.sender, request.sasl_username);
    let finding = find(memory, request.recipient, Asking::Injection(by), settings, now);
    let action = match &finding {
        Finding::Nothing => policy::Action::Dunno,
        Finding::Suppressed(entry) => policy::Action::Reject {
            text: refusal(entry, settings),
        },
        Finding::Quarantined(_) => policy::Action::Defer {
            text: QUARANTINED.into(),
        },
        Finding::Held(hold) => policy::Action::Defer {
            text: hold.to_string(),
        },
        Finding::Unloaded => policy::Action::Defer {
            text: UNLOADED.into(),
        },
    };
    (finding, action)
}

/// What is known about the recipient of a message, and what the milter answers: in a refusal, code and text are those of
/// the policy service. `by` is the envelope sender and who logged in, each empty for nobody.
#[must_use]
pub fn rcpt(
    memory: &Memory,
    recipient: &str,
    by: (&str, &str),
    settings: &Settings,
    now: Timestamp,
) -> (Finding, milter::Reply) {
    let finding = find(memory, recipient, Asking::Injection(by), settings, now);
    let code = |code, status, text| milter::Reply::Code { code, status, text };
    let reply = match &finding {
        Finding::Nothing => milter::Reply::Continue,
        Finding::Suppressed(entry) => code(550, "5.1.1", refusal(entry, settings)),
        Finding::Quarantined(_) => code(450, "4.7.1", QUARANTINED.into()),
        Finding::Held(hold) => code(450, "4.7.1", hold.to_string()),
        Finding::Unloaded => code(450, "4.7.1", UNLOADED.into()),
    };
    (finding, reply)
}

/// What is known about the key of a look-up, and what the map says. `before` is the key that the same client
/// asked the transport map for last and that was let through, "" for none: Postfix asks for
/// `user+extension@domain` and, where that is not found, at once for `user@domain`; this is one attempt.
#[must_use]
pub fn look_up(
    memory: &Memory,
    map: Map,
    key: &str,
    before: &str,
    settings: &Settings,
    now: Timestamp,
) -> (Finding, socketmap::Answer) {
    use socketmap::Answer;
    let asking = match map {
        Map::Transport if is_extended(before, key) => Asking::Key,
        Map::Transport => Asking::Attempt,
        Map::Access | Map::Suppressed => Asking::Key,
    };
    let finding = find(memory, key, asking, settings, now);
    let answer = match (&finding, map) {
        (Finding::Nothing, Map::Transport) => match transport(memory, key, settings, now) {
            Some(name) => Answer::Ok(format!("{name}:")),
            None => Answer::NotFound,
        },
        (Finding::Nothing, _) => Answer::NotFound,
        (Finding::Suppressed(entry), Map::Access) => {
            Answer::Ok(format!("550 5.1.1 {}", refusal(entry, settings)))
        }
        (Finding::Suppressed(entry), Map::Transport) => {
            Answer::Ok(format!("error:5.1.1 {}", refusal(entry, settings)))
        }
        (Finding::Suppressed(entry), Map::Suppressed) => Answer::Ok(entry.cause.name().into()),
        (Finding::Quarantined(_), Map::Access) => Answer::Ok(format!("450 4.2.0 {QUARANTINED}")),
        (Finding::Quarantined(_), Map::Transport) => Answer::Ok(format!("retry:4.2.0 {OURS}{QUARANTINED}")),
        (Finding::Quarantined(_), Map::Suppressed) => Answer::NotFound,
        (Finding::Held(hold), _) => Answer::Ok(format!("retry:4.7.1 {OURS}{hold}")),
        (Finding::Unloaded, _) => Answer::Temp(UNLOADED.into()),
    };
    (finding, answer)
}

/// The transport of its provider's own that mail for the address takes, where there is one.
fn transport<'a>(memory: &Memory, key: &str, settings: &'a Settings, now: Timestamp) -> Option<&'a str> {
    if settings.transports.is_empty() {
        return None;
    }
    let address = Address::parse(key).ok()?;
    let provider = memory.provider_at(address.domain(), now)?;
    settings.transports.get(&*provider).map(String::as_str)
}

/// Whether an address is another one with an extension, by whatever character (transport(5),
/// `recipient_delimiter`).
fn is_extended(extended: &str, address: &str) -> bool {
    let parts = extended.rsplit_once('@').zip(address.rsplit_once('@'));
    parts.is_some_and(|((long, its_domain), (short, domain))| {
        let extension = long
            .get(..short.len())
            .filter(|start| start.eq_ignore_ascii_case(short));
        extension.is_some()
            && its_domain.eq_ignore_ascii_case(domain)
            && !short.is_empty()
            && long[short.len()..].starts_with(|c: char| c.is_ascii_punctuation() && c != '"')
    })
}

const UNLOADED: &str = "suppressions are still being loaded";
const QUARANTINED: &str = "refused lately among far more than usual there: put off until it is clear why";

/// What somebody wants to do with an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asking<'a> {
    /// Know whether it is suppressed.
    Key,
    /// Put mail for it into the queue, from this sender and by who logged in so.
    Injection((&'a str, &'a str)),
    /// Attempt a delivery: costs a token of its lane.
    Attempt,
}

fn find(memory: &Memory, text: &str, asking: Asking<'_>, settings: &Settings, now: Timestamp) -> Finding {
    let Ok(address) = Address::parse(text) else {
        return Finding::Nothing;
    };
    if !memory.is_loaded() {
        return match settings.unloaded {
            OnUnloaded::Pass => Finding::Nothing,
            OnUnloaded::Defer => Finding::Unloaded,
        };
    }
    if let Some(finding) = suppressed(memory, &address, asking, settings, now) {
        if matches!(asking, Asking::Attempt) {
            memory.gate().asked_otherwise();
        }
        return finding;
    }
    let (domain, egress) = (address.domain(), settings.egress.as_str());
    let hold = match asking {
        Asking::Key => None,
        Asking::Injection(_) => {
            let held = || memory.held(domain, egress, now);
            let full = || memory.full(domain, egress, settings.max_backlog?, now);
            let behind = (settings.held == OnHeld::Defer).then(held).flatten();
            behind.or_else(full)
        }
        Asking::Attempt => memory.attempt(&address, now),
    };
    hold.map_or(Finding::Nothing, Finding::Held)
}

/// What the suppressions say about an address.
fn suppressed(
    memory: &Memory,
    address: &Address,
    asking: Asking<'_>,
    settings: &Settings,
    now: Timestamp,
) -> Option<Finding> {
    let clear = address.key(settings.local_part);
    let key = settings.veil.over(clear.clone());
    let stream = match asking {
        Asking::Injection((sender, user)) if settings.streams.is_told_apart() && memory.has_streams() => {
            Some(settings.streams.name_of(settings.streams.of(sender, user)))
        }
        _ => None,
    };
    let question = Question {
        key: &key,
        clear: clear.as_str(),
        domain: address.domain(),
        stream,
    };
    let found = memory.suppressed(&question, now)?;
    match found.standing {
        _ if settings.allow.holds(clear.as_str()) => None,
        Standing::InForce => Some(Finding::Suppressed(found)),
        Standing::Quarantined => {
            (settings.quarantined == OnQuarantined::Defer).then_some(Finding::Quarantined(found))
        }
    }
}

/// The words of a refusal: cause, date and the number to look up; date and number only where they are at hand. The
/// address is not repeated: Postfix puts it before the text, and nothing of a stranger's making belongs there.
fn refusal(found: &Found, settings: &Settings) -> String {
    let cause = found.cause;
    let mut text = String::with_capacity(64 + settings.look_up.len());
    // Writing to a string cannot fail.
    let _ = match &found.detail {
        Some(detail) => write!(
            text,
            "suppressed since {}: {cause} ({}",
            detail.since.strftime("%F"),
            detail.id
        ),
        None => write!(text, "suppressed: {cause} ("),
    };
    if !settings.look_up.is_empty() {
        if found.detail.is_some() {
            text.push_str("; ");
        }
        text.push_str(&settings.look_up);
    }
    if text.ends_with('(') {
        text.truncate(text.len() - " (".len());
    } else {
        text.push(')');
    }
    text
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let provider = &self.lane.provider;
        match self.why {
            Why::Held => write!(f, "{provider} asked us to slow down: held")?,
            Why::WarmUp => write!(f, "the day's share of the warm-up at {provider} has gone: held")?,
            Why::Paused => write!(f, "{provider} is paused by an operator")?,
            Why::Pace => write!(f, "{provider} takes no more just now")?,
            Why::Turn => write!(f, "others for {provider} were there first")?,
            Why::UnderWay => write!(f, "as many as may be are under way to {provider}")?,
            Why::Full => write!(f, "as many as may wait for {provider} already")?,
        }
        if let Some(until) = self.until {
            write!(f, " until {}", until.strftime("%FT%TZ"))?;
        }
        match &self.rule {
            Some(rule) => write!(f, " ({rule})"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;

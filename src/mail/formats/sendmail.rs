//! Sendmail's notices, old and new, by their ruled sections:
//! `----- The following addresses had permanent fatal errors -----` with the recipients and, since 8.10,
//! `(reason: …)` and `(expanded from: …)`; then `----- Transcript of session follows -----` with the SMTP
//! session (`... while talking to mx.:`, `>>> RCPT To:<…>`, `<<< 550 …`) and Sendmail's own conclusions
//! (`550 5.1.1 <…>... User unknown`). Programs that copied the form are read here too.
//!
//! A recipient's reply is, in this order: the one that its own RCPT command or Sendmail's conclusion on it
//! ties to it, the one that its `reason` quotes, the one that names it, and at last the one that ended the
//! session, which counts for all. See [`super::session`] for the transcript.

use super::Format;
use super::block;
use super::label::speaks;
use super::quoted::{is_reply, status_within};
use super::session::{Exchange, Session};
use crate::mail::address::{Address, LocalPart};
use crate::mail::dsn::{Action, Recipient, Report};
use crate::mail::letter::Letter;

/// The format.
pub const FORMAT: Format = Format {
    name: "sendmail",
    tell: |letter| is_ruled(letter) && speaks(letter, &INTRODUCTIONS),
    read,
};

/// How the notices of a Sendmail begin whose sender does not tell.
const INTRODUCTIONS: [&str; 3] = ["The original message was received", "--", "***"];

/// Whether the words have a section of Sendmail's within their first lines.
fn is_ruled(letter: &Letter<'_>) -> bool {
    letter.says_early(2000, "-- The following address")
        || letter.says_early(2000, "- Transcript of session follows -")
}

/// What the sections say.
#[derive(Default)]
struct Sections<'a> {
    listed: Vec<Listed<'a>>,
    session: Vec<&'a str>,
    details: Vec<&'a str>,
    warning: bool,
}

/// A recipient in its section.
struct Listed<'a> {
    address: Option<Address>,
    action: Action,
    reason: Option<&'a str>,
    expanded_from: Option<Address>,
}

/// What a section is about.
#[derive(Clone, Copy, PartialEq)]
enum Section {
    Preamble,
    Recipients(Action),
    Transcript,
    Details,
}

/// Reads the sections; shared with the formats that have them.
pub(super) fn read(letter: &Letter<'_>) -> Option<Report> {
    let sections = sections(letter.words());
    let session = Session::read(&sections.session);
    let mut recipients: Vec<Recipient> = Vec::new();
    // What ended a session with one server counts for all; among several nobody can tell whose it was.
    let one = sections.listed.len() == 1 || session.is_with_one();
    let last = session.last().filter(|_| one);
    // The reason for all where the notice has a section of its own for it.
    let details = sections.details.join(" ");
    for listed in &sections.listed {
        let of_all = last.filter(|_| listed.address.is_some());
        recipients.extend(listed.read(&session, of_all, &details, sections.listed.len() == 1));
    }
    if recipients.is_empty() {
        recipients = concluded(&session, letter);
    }
    if sections.warning || session.is_warning() || letter.subject().starts_with("warning") {
        for recipient in &mut recipients {
            recipient.action = Some(Action::Delayed);
        }
    }
    Some(Report {
        reporting_mta: letter
            .sender()
            .rsplit_once('@')
            .map(|(_, host)| host.to_owned())
            .filter(|host| host.contains('.')),
        recipients,
        ..Report::default()
    })
}

fn sections(words: &str) -> Sections<'_> {
    let mut all = Sections::default();
    let mut section = Section::Preamble;
    for line in words.lines() {
        if let Some(title) = title(line) {
            section = section_of(&title).unwrap_or(section);
            continue;
        }
        match section {
            Section::Preamble => all.warning |= line.contains("THIS IS A WARNING MESSAGE ONLY"),
            Section::Recipients(action) => list(line, action, &mut all.listed),
            Section::Transcript => all.session.push(line),
            Section::Details => all.details.push(line),
        }
    }
    all
}

/// The words of a ruled line, in lower case: `   ----- Transcript of session follows -----`.
fn title(line: &str) -> Option<String> {
    let line = line.trim();
    let ruled = line.strip_prefix("--")?.trim_start_matches('-').trim();
    let words = ruled.trim_end_matches('-').trim_end();
    (words.len() < ruled.len() && !words.is_empty()).then(|| words.to_ascii_lowercase())
}

fn section_of(title: &str) -> Option<Section> {
    if title.contains("transcript of session") {
        return Some(Section::Transcript);
    }
    if title.contains("non-delivered information") {
        return Some(Section::Details);
    }
    title.contains("following address").then(|| {
        Section::Recipients(if title.contains("transient") {
            Action::Delayed
        } else if title.contains("successful") {
            Action::Delivered
        } else {
            Action::Failed
        })
    })
}

/// Takes a line of a section of recipients: an address, or more about the last.
fn list<'a>(line: &'a str, action: Action, listed: &mut Vec<Listed<'a>>) {
    let text = line.trim();
    if let Some(note) = text.strip_prefix('(') {
        let Some(last) = listed.last_mut() else { return };
        let note = note.strip_suffix(')').unwrap_or(note);
        if let Some(reason) = note.strip_prefix("reason: ") {
            last.reason = Some(reason.trim());
        } else if let Some(from) = note.strip_prefix("expanded from: ") {
            last.expanded_from = block::mailbox(from);
        }
        return;
    }
    let text = text.trim_start_matches('>').trim_start();
    let Some((address, note)) = entry(text) else {
        return;
    };
    let (action, reason) = match note {
        Some(note) if note.contains("successful") || note.contains("relayed") => (Action::Delivered, None),
        Some("unrecoverable error") => (Action::Failed, None),
        Some("transient failure") => (Action::Delayed, None),
        note => (action, note),
    };
    listed.push(Listed {
        address,
        action,
        reason,
        expanded_from: None,
    });
}

/// An entry: `<address>`, `address`, a pipe or file in quotes (without an address), perhaps with a note
/// behind it in `()` or `[]`.
fn entry(text: &str) -> Option<(Option<Address>, Option<&str>)> {
    if text.starts_with(['"', '|', '/']) {
        return Some((None, None));
    }
    let word = text.split_whitespace().next()?;
    let address = block::mailbox(word)?;
    let note = text[word.len()..].trim();
    let inside = note
        .strip_prefix('(')
        .and_then(|n| n.strip_suffix(')'))
        .or_else(|| note.strip_prefix('[').and_then(|n| n.strip_suffix(']')));
    Some((Some(address), inside.map(str::trim)))
}

impl Listed<'_> {
    fn read(
        &self,
        session: &Session<'_>,
        of_all: Option<&Exchange<'_>>,
        details: &str,
        alone: bool,
    ) -> Option<Recipient> {
        // A pipe or a file stands for the address that it belongs to.
        let address = self.address.clone().or_else(|| self.expanded_from.clone())?;
        // A bare number is the exit code of a local program.
        let reason = self.reason.filter(|reason| reason.len() > 3);
        let exchange = session
            .about(&address)
            .or_else(|| reason.and_then(|reason| session.quoted(reason)))
            .or_else(|| session.naming(&address));
        let own = session.concluded_on(&address).filter(|_| reason.is_none());
        let of_all = of_all.filter(|_| reason.is_none() && own.is_none());
        let exchange = exchange.or(of_all);
        let said = match (exchange, reason) {
            (Some(exchange), _) => exchange.reply.clone(),
            (None, Some(reason)) if is_reply(reason) => reason.to_owned(),
            (None, reason) => {
                let own = reason.or(own).or_else(|| session.concluded_on_all());
                let own = own.unwrap_or(details);
                // Of a local delivery Sendmail knows the exit code only; the program's own words say why.
                match session.program().filter(|_| alone) {
                    Some(words) => format!("{own}: {words}"),
                    None => own.to_owned(),
                }
            }
        };
        let differs = |from: &Address| from.key(LocalPart::Fold) != address.key(LocalPart::Fold);
        Some(Recipient {
            original_recipient: self.expanded_from.clone().filter(differs),
            action: Some(self.action),
            ..answered(address, exchange, &said)
        })
    }
}

/// A recipient with the words about it and, where a server spoke them, which and to what.
fn answered(address: Address, exchange: Option<&Exchange<'_>>, said: &str) -> Recipient {
    let told = block::failed(address, said);
    Recipient {
        command: exchange.and_then(|e| e.command).map(str::to_owned),
        remote_mta: exchange.and_then(|e| e.host).map(str::to_ascii_lowercase),
        status: told.status.or_else(|| status_within(said)),
        ..told
    }
}

/// The recipients of a notice that lists none: those that the transcript concludes on, or else the only
/// addressee of the returned mail whose host it names (v5).
fn concluded(session: &Session<'_>, letter: &Letter<'_>) -> Vec<Recipient> {
    let found: Vec<Recipient> = session
        .conclusions()
        .map(|(address, own)| {
            let exchange = session.about(address);
            let said = exchange.map_or(own, |e| &e.reply);
            answered(address.clone(), exchange, said)
        })
        .collect();
    if !found.is_empty() {
        return found;
    }
    let addressee = letter.returned().and_then(block::only_addressee);
    let about = addressee.and_then(|address| {
        let said = session.about_host(address.domain())?;
        Some(Recipient {
            doubtful: true,
            ..block::failed(address, said)
        })
    });
    about.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_are_ruled() {
        assert_eq!(
            title("   ----- Unsent message -----").as_deref(),
            Some("unsent message")
        );
        assert_eq!(title("---errors---").as_deref(), Some("errors"));
        assert_eq!(title("-- a signature"), None);
        assert_eq!(title("----------"), None);
    }

    #[test]
    fn entries_have_notes() {
        let shown = |text| {
            entry(text).map(|(a, note)| {
                format!(
                    "{} | {}",
                    a.map_or("-".into(), |a| a.to_string()),
                    note.unwrap_or("-")
                )
            })
        };
        let table = [
            ("<a@b.test>", Some("a@b.test | -")),
            ("a@b.test", Some("a@b.test | -")),
            (
                "<a@b.test>  (unrecoverable error)",
                Some("a@b.test | unrecoverable error"),
            ),
            (
                "a@b.test [Connection timed out]",
                Some("a@b.test | Connection timed out"),
            ),
            (
                "<a@b.test>   (5.1.1 <a@b.test>... User unknown)",
                Some("a@b.test | 5.1.1 <a@b.test>... User unknown"),
            ),
            ("\"|/bin/false\"", Some("- | -")),
            ("none at all", None),
        ];
        for (text, expected) in table {
            assert_eq!(shown(text).as_deref(), expected, "{text}");
        }
    }
}

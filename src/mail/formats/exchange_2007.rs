//! Exchange 2007 and later, Microsoft 365 and Outlook.com: `Diagnostic information for administrators:` in the
//! language of the server, and under it for each recipient a line with the address and what was said:
//! `#550 5.1.1 RESOLVER.ADR.RecipNotFound; not found ##`, `mx.x.test #<mx.x.test #5.1.1 smtp;550 no> #SMTP#`,
//! `Remote Server returned '550 5.1.1 no'`, `DATE - Server at mx.x.test returned '550 …'`, or in the newest form
//! `Reported error: 550 5.1.10 RESOLVER.ADR.RecipientNotFound; …`.
//!
//! All these are told by their shape: a `#` or a quote before a code. No translated words are needed, but for
//! the tell.

use super::{Format, block, label, phrase, quoted};
use crate::mail::address::Address;
use crate::mail::dsn::{Recipient, Report};
use crate::mail::letter::Letter;

/// The format.
pub const FORMAT: Format = Format {
    name: "exchange-2007",
    tell: |letter| {
        letter.is_from_daemon()
            && (letter.has("X-MS-Exchange-Message-Is-Ndr")
                || letter.from().contains("microsoftexchange")
                || letter.says_any(&HEADINGS))
    },
    read,
};

/// The headings that tell the format, as the language packs have them.
const HEADINGS: [&str; 24] = [
    "Diagnostic information for administrators",
    "Generating server",
    "Error Details",
    "Reported error",
    "Diagnoseinformationen für Administratoren",
    "Generierender Server",
    "Informations de diagnostic pour les administrateurs",
    "Serveur de génération",
    "Información de diagnóstico para administradores",
    "Información de diagnóstico para los administradores",
    "Servidor de generación",
    "Informazioni di diagnostica per gli amministratori",
    "Server di generazione",
    "Informações de diagnóstico para administradores",
    "Diagnostische gegevens voor beheerders",
    "Diagnostische informatie voor beheerders",
    "Informacje diagnostyczne dla administratorów",
    "Диагностические сведения для администраторов",
    "Сведения диагностики для администраторов",
    "管理者向けの診断情報",
    "管理者用の診断情報",
    "关于管理员的诊断信息",
    "管理员的诊断信息",
    "診斷資訊",
];

fn read(letter: &Letter<'_>) -> Option<Report> {
    let words = letter.words();
    let late = phrase::has_any(
        words,
        &[
            "hasn't been delivered yet",
            "has not been delivered yet",
            "noch nicht zugestellt",
            "has been delayed",
        ],
    ) || letter.subject().contains("delayed");
    let mut recipients: Vec<Recipient> = Vec::new();
    let mut pending: Vec<Address> = Vec::new();
    let mut quoted = Quoted::default();
    let mut answered = true;
    for line in words.lines().map(str::trim) {
        if let Some(address) = phrase::lone_mailbox(line) {
            // The list at the top and the diagnostics below name the same recipients.
            if answered {
                pending.clear();
            }
            answered = false;
            pending.push(address);
        } else if let Some(said) = quoted.line(line)
            && !answered
        {
            answered = true;
            for address in pending.drain(..).rev().take(1) {
                recipients.push(recipient(address, &said, late));
            }
        }
    }
    if recipients.is_empty()
        && let Some(said) = reported(words)
    {
        let all = words
            .lines()
            .filter_map(phrase::lone_mailbox)
            .chain(label::value(words, "Recipient Address:").and_then(block::address))
            .chain(words.lines().filter_map(block::address));
        // The details name the sender too, and first: the notice came to them.
        let mut all = all.filter(|address| !label::is_addressee(letter, address));
        recipients.extend(all.next().map(|address| recipient(address, said, late)));
    }
    Some(Report {
        reporting_mta: generating_server(words),
        recipients,
        ..Report::default()
    })
}

/// The quotation marks of the languages that Exchange speaks.
const QUOTES: [char; 9] = ['\'', '"', '«', '»', '“', '”', '‘', '’', '„'];

/// Finds replies in lines, some of which are broken.
#[derive(Default)]
struct Quoted {
    open: Option<(char, String)>,
}

impl Quoted {
    /// What was said, once the line that ends it has come.
    fn line(&mut self, line: &str) -> Option<String> {
        if let Some((end, mut said)) = self.open.take() {
            if line.is_empty() {
                return Some(said);
            }
            said.push(' ');
            said.push_str(line);
            return self.close(end, said);
        }
        if let Some(at) = line.find('#').filter(|&at| is_sharp(&line[at..])) {
            return self.close('#', line[at + 1..].to_owned());
        }
        let (at, quote) = line
            .match_indices(QUOTES)
            .find(|(at, quote)| is_quoted(&line[at + quote.len()..]))?;
        self.close('\'', line[at + quote.len()..].trim_start().to_owned())
    }

    fn close(&mut self, end: char, said: String) -> Option<String> {
        let closed = match end {
            '#' => said.find("##").or_else(|| said.find("#SMTP#")),
            _ => said
                .ends_with(QUOTES)
                .then(|| said.trim_end_matches(QUOTES).len()),
        };
        match closed {
            Some(at) => Some(said[..at].trim().to_owned()),
            None if said.len() < 4096 => {
                self.open = Some((end, said));
                None
            }
            None => Some(said),
        }
    }
}

/// `#550 5.1.1 …`, `#< #5.1.1 smtp;…`, `#<mx.x.test #5.1.1 …`, but not a number sign in a sentence.
fn is_sharp(text: &str) -> bool {
    let text = text.trim_start_matches(['#', ' ']);
    text.starts_with('<') || quoted::says_reply(text)
}

fn is_quoted(text: &str) -> bool {
    let text = text.trim_start();
    text.starts_with('<') || quoted::says_reply(text)
}

/// `Reported error: 550 5.1.10 …` in any language: the first line with a code right after a colon, or at its
/// start where the error is a cell of a table.
fn reported(words: &str) -> Option<&str> {
    words.lines().find_map(|line| {
        let said = line.split_once([':', '：', '\t']).map_or(line, |(_, said)| said);
        let said = [said.trim(), line.trim()];
        let said = said.into_iter().find(|said| quoted::says_reply(said))?;
        // The next row of the table, run into the line as HTML became text.
        Some(
            said.split_once(" DSN generated by:")
                .map_or(said, |(said, _)| said),
        )
    })
}

fn recipient(address: Address, said: &str, late: bool) -> Recipient {
    let (host, reply) = framed(said);
    let recipient = if late {
        phrase::delayed(address, reply)
    } else {
        block::failed(address, reply)
    };
    Recipient {
        remote_mta: host,
        ..recipient
    }
}

/// `<mx.x.test #5.1.1 smtp;550 5.1.1 no>`: who said what.
fn framed(said: &str) -> (Option<String>, &str) {
    let Some((host, rest)) = said.strip_prefix('<').and_then(|s| s.split_once('#')) else {
        return (None, said);
    };
    let rest = rest.trim_end().trim_end_matches('>');
    let reply = rest.split_once("smtp;").or_else(|| rest.split_once("SMTP;"));
    let host = host.trim().to_ascii_lowercase();
    (
        host.contains('.').then_some(host),
        reply.map_or(rest, |(_, reply)| reply).trim(),
    )
}

/// The host under the heading: the first line of the shape `words: host`.
fn generating_server(words: &str) -> Option<String> {
    let heading = HEADINGS
        .iter()
        .filter_map(|h| memchr::memmem::find(words.as_bytes(), h.as_bytes()))
        .min()?;
    words[heading..].lines().take(6).find_map(|line| {
        let (_, host) = line.split_once([':', '：'])?;
        let host = host.trim();
        let fits = host.contains('.') && !host.contains([' ', '@', '/']) && host.is_ascii();
        fits.then(|| host.to_ascii_lowercase())
    })
}

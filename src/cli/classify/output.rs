//! Where the lines of `nixie classify` go: JSON Lines, or a table that is laid out a page at a time, so
//! that a million lines need no more memory than a thousand.
//!
//! Output is buffered and its lock is taken once. A reader that has gone away ends the work quietly.

use super::line::{MessageLine, ReplyLine, VerdictLine};
use comfy_table::{ContentArrangement, Table, presets};
use std::io::{self, BufWriter, StdoutLock, Write};

/// Rows that are laid out together.
const PAGE: usize = 500;
/// As much of a reply as a table shows, in characters.
const SHOWN: usize = 72;

/// The columns of messages.
pub(super) const MESSAGES: &[&str] = &[
    "source",
    "kind",
    "format",
    "address",
    "code",
    "status",
    "cause",
    "permanent",
    "remedy",
    "rule",
];
/// The columns of replies.
pub(super) const REPLIES: &[&str] = &[
    "code",
    "status",
    "provider",
    "cause",
    "scope",
    "permanent",
    "remedy",
    "rule",
    "reply",
];

/// The standard output, for the length of a command.
pub(super) struct Output {
    out: BufWriter<StdoutLock<'static>>,
    /// The rows of the page that is being filled; `None` for JSON Lines.
    page: Option<Vec<Vec<String>>>,
    header: &'static [&'static str],
    first: bool,
}

impl Output {
    pub(super) fn new(json: bool, header: &'static [&'static str]) -> Self {
        Self {
            out: BufWriter::with_capacity(64 * 1024, io::stdout().lock()),
            page: (!json).then(Vec::new),
            header,
            first: true,
        }
    }

    pub(super) fn message(&mut self, line: &MessageLine<'_>) -> io::Result<()> {
        let Some(page) = &mut self.page else {
            serde_json::to_writer(&mut self.out, line)?;
            return self.out.write_all(b"\n");
        };
        let about = [line.source.as_str(), line.kind, line.format.unwrap_or("")].map(plain);
        if line.recipients.is_empty() {
            page.push(about.to_vec());
        }
        for recipient in &line.recipients {
            let mut row = about.to_vec();
            row.push(plain(&recipient.address));
            row.push(number(recipient.code));
            row.push(recipient.status.clone().unwrap_or_default());
            row.extend(verdict(&recipient.verdict, false));
            page.push(row);
        }
        self.turn(false)
    }

    pub(super) fn reply(&mut self, line: &ReplyLine<'_>) -> io::Result<()> {
        let Some(page) = &mut self.page else {
            serde_json::to_writer(&mut self.out, line)?;
            return self.out.write_all(b"\n");
        };
        let mut row = vec![
            number(line.code),
            line.status.clone().unwrap_or_default(),
            line.provider.unwrap_or_default().to_owned(),
        ];
        row.extend(verdict(&line.verdict, true));
        row.push(shortened(line.reply));
        page.push(row);
        self.turn(false)
    }

    /// Lets a reader have what is there: whoever feeds us is waiting, too.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Writes what is left.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.turn(true)?;
        self.out.flush()
    }

    fn turn(&mut self, last: bool) -> io::Result<()> {
        let Some(page) = self
            .page
            .as_mut()
            .filter(|page| page.len() >= PAGE || (last && !page.is_empty()))
        else {
            return Ok(());
        };
        let mut table = Table::new();
        table
            .load_preset(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled);
        if std::mem::take(&mut self.first) {
            table.set_header(self.header);
        }
        table.add_rows(std::mem::take(page));
        for line in table.lines() {
            writeln!(self.out, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

fn verdict(line: &VerdictLine, with_scope: bool) -> Vec<String> {
    let verdict = &line.0;
    let mut cells = vec![plain(&line.cause())];
    if with_scope {
        cells.push(verdict.scope.to_string());
    }
    cells.push(if verdict.permanent { "yes" } else { "no" }.to_owned());
    cells.push(verdict.remedy.to_string());
    cells.push(line.rule().unwrap_or_default().to_owned());
    cells
}

fn number(code: Option<u16>) -> String {
    code.map(|code| code.to_string()).unwrap_or_default()
}

/// A stranger's words without what a terminal would obey.
pub(in crate::cli) fn plain(text: &str) -> String {
    text.replace(char::is_control, " ")
}

fn shortened(text: &str) -> String {
    let text = plain(text);
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

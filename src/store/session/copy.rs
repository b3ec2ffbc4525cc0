//! Many rows at once: Postgres' `COPY`, which costs a fraction of statements and answers, and for SQLite, which
//! has nothing like it, rows glued together by hundreds.
//!
//! Either way a row is a line of fields between tabs
//! (<https://www.postgresql.org/docs/current/sql-copy.html>, "Text Format"): `\N` is no value. In Postgres'
//! lines a backslash escapes; in SQLite's nothing is escaped, so that there only the last field of a line may hold
//! a tab, and none a line feed.

use super::{Args, Connection, Fault, Session, Value, within};
use futures_util::TryStreamExt as _;
use std::borrow::Cow;
use std::fmt::Write as _;

/// No value, as a field.
pub(in crate::store) const NULL: &str = "\\N";

/// A line as it came.
pub(in crate::store) struct Line<'a> {
    text: &'a str,
    escaped: bool,
}

impl<'a> Line<'a> {
    /// The first fields of the line, the last of them with all that is left; `None` where there are fewer.
    pub(in crate::store) fn fields<const N: usize>(&self) -> Option<[Cow<'a, str>; N]> {
        let mut parts = self.text.splitn(N, '\t');
        let mut fields = [const { Cow::Borrowed("") }; N];
        for field in &mut fields {
            let part = parts.next()?;
            *field = if self.escaped && part != NULL {
                unescaped(part)
            } else {
                part.into()
            };
        }
        Some(fields)
    }
}

/// A field of Postgres' text without its escapes.
fn unescaped(field: &str) -> Cow<'_, str> {
    if memchr::memchr(b'\\', field.as_bytes()).is_none() {
        return field.into();
    }
    let mut text = String::with_capacity(field.len());
    let mut rest = field.chars();
    while let Some(c) = rest.next() {
        text.push(match c {
            '\\' => match rest.next() {
                Some('b') => '\u{8}',
                Some('f') => '\u{c}',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some('v') => '\u{b}',
                Some(other) => other,
                None => '\\',
            },
            c => c,
        });
    }
    text.into()
}

/// Lines in the making, for Postgres to read.
#[derive(Debug, Default)]
pub(in crate::store) struct Lines {
    text: String,
    /// The next field is the first of its line.
    first: bool,
}

impl Lines {
    /// Begins a line.
    pub(in crate::store) fn line(&mut self) -> &mut Self {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.first = true;
        self
    }

    fn tab(&mut self) {
        if !std::mem::take(&mut self.first) {
            self.text.push('\t');
        }
    }

    pub(in crate::store) fn int(&mut self, value: Option<i64>) -> &mut Self {
        self.tab();
        // Writing to a string cannot fail.
        let _ = match value {
            Some(value) => write!(self.text, "{value}"),
            None => write!(self.text, "{NULL}"),
        };
        self
    }

    /// A text, or no value. A NUL, which neither database keeps, is left out.
    pub(in crate::store) fn text(&mut self, value: Option<&str>) -> &mut Self {
        self.tab();
        let Some(value) = value else {
            self.text.push_str(NULL);
            return self;
        };
        if !value.bytes().any(|b| b < b' ' || b == b'\\') {
            self.text.push_str(value);
            return self;
        }
        for c in value.chars() {
            match c {
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                '\r' => self.text.push_str("\\r"),
                '\t' => self.text.push_str("\\t"),
                '\0' => {}
                c => self.text.push(c),
            }
        }
        self
    }

    pub(in crate::store) fn octets(&mut self, value: Option<&[u8]>) -> &mut Self {
        let Some(value) = value else {
            return self.text(None);
        };
        self.tab();
        self.text.push_str("\\\\x");
        for octet in value {
            let _ = write!(self.text, "{octet:02x}");
        }
        self
    }
}

impl Session {
    /// Whether rows are copied out and in ([`Session::copy_in`]).
    pub(in crate::store) fn copies(&self) -> bool {
        matches!(self.connection, Connection::Postgres(_))
    }

    /// Shows the lines of a page to `see`, and returns how many there were. On Postgres the statement is what goes
    /// into `COPY (…) TO STDOUT`; on SQLite its answer is rows of glued lines.
    pub(in crate::store) async fn lines(
        &mut self,
        statement: Statement<'_>,
        see: &mut (impl FnMut(&Line<'_>) + Send),
    ) -> Result<usize, Fault> {
        let Connection::Postgres(connection) = &mut self.connection else {
            return self.glued(statement, see).await;
        };
        self.busy = true;
        let mut count = 0;
        let text = statement.text_of_copy();
        within(self.patience, async {
            let mut stream = connection.copy_out_raw(&text).await?;
            while let Some(row) = stream.try_next().await? {
                let row = row.strip_suffix(b"\n").unwrap_or(&row);
                if let Ok(text) = std::str::from_utf8(row) {
                    see(&Line { text, escaped: true });
                    count += 1;
                }
            }
            Ok(())
        })
        .await?;
        self.busy = false;
        Ok(count)
    }

    async fn glued(
        &mut self,
        statement: Statement<'_>,
        see: &mut (impl FnMut(&Line<'_>) + Send),
    ) -> Result<usize, Fault> {
        let values = statement.values.iter().map(|&value| Value::Int(Some(value)));
        let rows = self.fetch(statement.lite, Args::Values(values.collect())).await?;
        let mut count = 0;
        for row in &rows {
            let glued: Option<String> = row.get(0)?;
            for text in glued.as_deref().unwrap_or_default().lines() {
                see(&Line { text, escaped: false });
                count += 1;
            }
        }
        Ok(count)
    }

    /// Sends lines into a table of Postgres', given as `table (columns)`.
    pub(in crate::store) async fn copy_in(&mut self, table: &str, lines: Lines) -> Result<(), Fault> {
        let Connection::Postgres(connection) = &mut self.connection else {
            return Err(Fault::Passing("SQLite takes no lines".into()));
        };
        self.busy = true;
        within(self.patience, async {
            let mut copy = connection
                .copy_in_raw(&format!("COPY {table} FROM STDIN"))
                .await?;
            copy.send(lines.text.into_bytes()).await?;
            copy.finish().await
        })
        .await?;
        self.busy = false;
        Ok(())
    }
}

/// A page's question in both databases' words.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Statement<'a> {
    /// Postgres': `COPY` takes no parameters, so that `$1`, … are replaced by the values.
    pub(in crate::store) copied: &'static str,
    /// SQLite's.
    pub(in crate::store) lite: &'static str,
    /// The values of `$1`, ….
    pub(in crate::store) values: &'a [i64],
}

impl Statement<'_> {
    fn text_of_copy(&self) -> String {
        let mut text = self.copied.to_owned();
        for (index, value) in self.values.iter().enumerate().rev() {
            text = text.replace(&format!("${}", index + 1), &value.to_string());
        }
        format!("COPY ({text}) TO STDOUT")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_escaped_reads_as_it_was(text in "[\\PC\\x01-\\x1f\\\\]{0,20}") {
            let mut lines = Lines::default();
            lines.line().int(Some(7)).text(Some(&text)).int(None);
            let line = Line { text: &lines.text, escaped: true };
            let [first, second, third] = line.fields().unwrap();
            prop_assert_eq!((&*first, &*second, &*third), ("7", text.as_str(), NULL));
        }
    }

    #[test]
    fn the_last_field_keeps_what_is_left() {
        let line = Line {
            text: "1\ta\\b\tc\td",
            escaped: false,
        };
        assert_eq!(line.fields::<3>().unwrap(), ["1", "a\\b", "c\td"]);
        assert!(line.fields::<5>().is_none());
    }

    #[test]
    fn octets_are_written_in_hexadecimal() {
        let mut lines = Lines::default();
        lines.line().octets(Some(&[0, 255])).octets(None);
        lines.line().text(Some("")).text(Some("a\tb\0"));
        assert_eq!(lines.text, "\\\\x00ff\t\\N\n\ta\\tb");
    }

    #[test]
    fn values_take_their_places() {
        let statement = Statement {
            copied: "SELECT 1 WHERE $1 < $10 LIMIT $2",
            lite: "",
            values: &[5, 6, 0, 0, 0, 0, 0, 0, 0, 7],
        };
        let text = statement.text_of_copy();
        assert_eq!(text, "COPY (SELECT 1 WHERE 5 < 7 LIMIT 6) TO STDOUT");
    }
}

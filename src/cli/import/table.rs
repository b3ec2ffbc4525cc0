//! Tables as services and spreadsheets export them: RFC 4180, with commas, semicolons or tabs. Lines are counted as
//! an editor counts them, so that a rejected one can be found again.
//!
//! A quote means something at the beginning of a field only, and only where the field ends with its second:
//! `"a, b"` is the field `a, b`, and `"a b"@example.org` is an address with its quotes. One that is never closed spoils
//! its own line, and none after it.

use csv::StringRecord;
use std::io::{self, BufRead};

/// The longest record, in octets, with all lines that its quotes span.
const LONGEST: usize = 64 * 1024;

/// A table that is read.
pub(super) struct Table<R> {
    input: R,
    delimiter: u8,
    /// Lines read so far.
    lines: u64,
    octets: u64,
    /// The record under way.
    record: Vec<u8>,
    /// Lines that were read ahead and are to be read again.
    ahead: Vec<u8>,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Row {
    /// A record that begins on this line.
    Read(u64),
    /// This line, and why it cannot be read.
    Bad(u64, &'static str),
    /// Nothing.
    End,
}

/// Why a record cannot be split.
enum Broken {
    /// A quote is open at its end.
    Open,
    /// A quote was open at the end of a line, and what the next one closes is no field.
    Stray,
    /// It is no UTF-8.
    Octets,
}

impl<R: BufRead> Table<R> {
    /// Begins at the beginning.
    pub(super) fn new(input: R, delimiter: u8) -> Self {
        Self {
            input,
            delimiter,
            lines: 0,
            octets: 0,
            record: Vec::new(),
            ahead: Vec::new(),
        }
    }

    /// Octets read so far.
    pub(super) fn octets(&self) -> u64 {
        self.octets
    }

    /// Reads the next record that is no empty line.
    ///
    /// # Errors
    /// Where the input cannot be read.
    pub(super) fn next(&mut self, row: &mut StringRecord) -> io::Result<Row> {
        loop {
            self.record.clear();
            if !self.line()? {
                return Ok(Row::End);
            }
            let (first, end) = (self.lines, self.record.len());
            if self.record.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            loop {
                match split(without_end(&self.record), self.delimiter, row) {
                    Ok(()) => return Ok(Row::Read(first)),
                    Err(Broken::Octets) if self.lines == first => {
                        return Ok(Row::Bad(first, "expected UTF-8, found other octets"));
                    }
                    Err(Broken::Open) if self.record.len() < LONGEST && self.line()? => {}
                    Err(_) => {
                        self.again(first, end);
                        row.clear();
                        row.push_field(String::from_utf8_lossy(without_end(&self.record)).trim_end());
                        return Ok(Row::Bad(first, "expected a second quote, found none"));
                    }
                }
            }
        }
    }

    /// Adds a line to the record; false at the end.
    fn line(&mut self) -> io::Result<bool> {
        let before = self.record.len();
        if self.ahead.is_empty() {
            // No line is longer than a record: what goes on and on is cut, and spoils itself only.
            io::Read::take(&mut self.input, LONGEST as u64).read_until(b'\n', &mut self.record)?;
        } else {
            let end = memchr::memchr(b'\n', &self.ahead).map_or(self.ahead.len(), |at| at + 1);
            self.record.extend(self.ahead.drain(..end));
        }
        let read = self.record.len() - before;
        self.octets += read as u64;
        self.lines += u64::from(read > 0);
        Ok(read > 0)
    }

    /// Gives back what was read after the first line of the record.
    fn again(&mut self, first: u64, end: usize) {
        let rest = self.record.split_off(end);
        self.octets -= rest.len() as u64;
        self.lines = first;
        self.ahead.splice(..0, rest);
    }
}

fn without_end(record: &[u8]) -> &[u8] {
    let record = record.strip_suffix(b"\n").unwrap_or(record);
    record.strip_suffix(b"\r").unwrap_or(record)
}

fn split(record: &[u8], delimiter: u8, row: &mut StringRecord) -> Result<(), Broken> {
    row.clear();
    let mut rest = std::str::from_utf8(record).map_err(|_| Broken::Octets)?;
    let delimiter = char::from(delimiter);
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(inner) => match quoted(inner, delimiter)? {
                Quoted::Field(field, after) => {
                    row.push_field(&field.replace("\"\"", "\""));
                    match after {
                        Some(after) => rest = after,
                        None => return Ok(()),
                    }
                    continue;
                }
                Quoted::Literal(length) => {
                    let field = &rest[..length];
                    (field, rest[length..].strip_prefix(delimiter))
                }
            },
            None => match rest.split_once(delimiter) {
                Some((field, after)) => (field, Some(after)),
                None => (rest, None),
            },
        };
        row.push_field(field);
        match after {
            Some(after) => rest = after,
            None => return Ok(()),
        }
    }
}

/// What begins with a quote.
enum Quoted<'a> {
    /// A field in quotes, and what follows its delimiter.
    Field(&'a str, Option<&'a str>),
    /// A text that has quotes, of so many octets with the first quote.
    Literal(usize),
}

fn quoted(inner: &str, delimiter: char) -> Result<Quoted<'_>, Broken> {
    let mut from = 0;
    loop {
        let quote = inner[from..].find('"').map(|at| at + from).ok_or(Broken::Open)?;
        let after = &inner[quote + 1..];
        if after.starts_with('"') {
            from = quote + 2;
        } else if after.is_empty() {
            return Ok(Quoted::Field(&inner[..quote], None));
        } else if let Some(after) = after.strip_prefix(delimiter) {
            return Ok(Quoted::Field(&inner[..quote], Some(after)));
        } else {
            let end = after.find(delimiter).unwrap_or(after.len());
            let literal = 1 + quote + 1 + end;
            return match inner[..quote].contains('\n') {
                true => Err(Broken::Stray),
                false => Ok(Quoted::Literal(literal)),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &[u8]) -> Vec<(u64, Result<Vec<String>, &'static str>)> {
        let mut table = Table::new(text, b',');
        let mut row = StringRecord::new();
        let mut found = Vec::new();
        loop {
            match table.next(&mut row).unwrap() {
                Row::Read(line) => found.push((line, Ok(row.iter().map(str::to_owned).collect()))),
                Row::Bad(line, problem) => found.push((line, Err(problem))),
                Row::End => break,
            }
        }
        assert_eq!(table.octets(), text.len() as u64);
        found
    }

    fn fields(fields: &[&str]) -> Result<Vec<String>, &'static str> {
        Ok(fields.iter().map(|&field| field.to_owned()).collect())
    }

    #[test]
    fn fields_are_split_and_unquoted() {
        let table: [(&str, &[&str]); 9] = [
            ("a,b", &["a", "b"]),
            ("a,", &["a", ""]),
            ("\"a, b\",c", &["a, b", "c"]),
            ("\"a \"\"b\"\" c\"", &["a \"b\" c"]),
            ("\"\",x", &["", "x"]),
            ("\"a, b\"@x.test,c", &["\"a, b\"@x.test", "c"]),
            ("a \"b\", c", &["a \"b\"", " c"]),
            ("\"one\ntwo\",c", &["one\ntwo", "c"]),
            ("\"a\"@x", &["\"a\"@x"]),
        ];
        for (text, expected) in table {
            assert_eq!(rows(text.as_bytes()), [(1, fields(expected))], "{text}");
        }
    }

    #[test]
    fn lines_are_counted_as_editors_do() {
        for end in ["\n", "\r\n"] {
            let text = ["a", "", "\"b", "b\"", "c", ""].join(end);
            let read = rows(text.as_bytes());
            let lines: Vec<u64> = read.iter().map(|(line, _)| *line).collect();
            assert_eq!(lines, [1, 3, 5], "{text:?}");
        }
    }

    #[test]
    fn an_open_quote_spoils_its_own_line_only() {
        let read = rows(b"\"a\nb\n\xff\nc,\"d\n");
        assert_eq!(read[0].0, 1);
        assert!(read[0].1.is_err());
        assert_eq!(read[1], (2, fields(&["b"])));
        assert!(read[2].0 == 3 && read[2].1.is_err());
        assert!(read[3].0 == 4 && read[3].1.is_err());
        assert_eq!(read.len(), 4);
        let read = rows(b"\"a\nb\n\"c\",d\n");
        assert_eq!(read[1..], [(2, fields(&["b"])), (3, fields(&["c", "d"]))]);
    }

    #[test]
    fn what_never_ends_is_read_in_bounded_memory() {
        let long = [b"\"".to_vec(), vec![b'x'; 3 * LONGEST], b"\nb\n".to_vec()].concat();
        let read = rows(&long);
        assert_eq!(read.last().map(|(_, row)| row.clone()), Some(fields(&["b"])));
    }
}

//! The records of a file, one after the other: lines of a table (RFC 4180, or with semicolons or tabs), or objects
//! of a JSON text. What was read is forgotten; a file of ten million lines takes no more memory than one of ten.
//!
//! A record that cannot be read is told with its line, and the next one follows.

use super::column::Place;
use super::objects::Objects;
use super::reason::plain;
use super::table::{Row, Table};
use serde_json::Value;
use std::io::{self, BufRead, BufReader, Read};

/// Octets read at once.
const BUFFER: usize = 256 * 1024;

/// A record.
#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    /// Its line, from 1.
    pub(super) line: u64,
    fields: Fields,
}

#[derive(Debug, Clone)]
enum Fields {
    Row(csv::StringRecord),
    /// By names as [`plain`] writes them.
    Object(Vec<(String, String)>),
}

impl Default for Fields {
    fn default() -> Self {
        Self::Row(csv::StringRecord::new())
    }
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Next {
    /// A record.
    Record,
    /// One that cannot be read, and why.
    Bad(String),
    /// Nothing.
    End,
}

/// A file that is read.
pub(super) enum Records {
    /// A table.
    Table(Table<Input>),
    /// A JSON text.
    Json(Objects<Input>),
}

type Input = BufReader<Box<dyn Read + Send>>;

impl Record {
    /// The value at a place, without white space around it; `None` where there is none, or it is empty.
    pub(super) fn get(&self, place: &Place) -> Option<&str> {
        let value = match (&self.fields, place) {
            (Fields::Row(row), Place::Column(index)) => row.get(*index),
            (Fields::Object(members), Place::Member(name)) => members
                .iter()
                .find(|(member, _)| member == name)
                .map(|(_, value)| value.as_str()),
            _ => None,
        };
        value.map(str::trim).filter(|value| !value.is_empty())
    }

    /// The values of a row, or the names of an object's members, as [`plain`] writes them.
    pub(super) fn names(&self) -> Vec<String> {
        match &self.fields {
            Fields::Row(row) => row.iter().map(plain).collect(),
            Fields::Object(members) => members.iter().map(|(name, _)| name.clone()).collect(),
        }
    }

    /// The values of a row as they stand there; none of an object.
    pub(super) fn values(&self) -> Vec<&str> {
        match &self.fields {
            Fields::Row(row) => row.iter().collect(),
            Fields::Object(_) => Vec::new(),
        }
    }

    /// All of it on one line, for people.
    pub(super) fn text(&self) -> String {
        match &self.fields {
            Fields::Row(row) => row.iter().collect::<Vec<_>>().join(","),
            Fields::Object(members) => {
                let named = |(name, value): &(String, String)| format!("{name}={value}");
                members.iter().map(named).collect::<Vec<_>>().join(", ")
            }
        }
    }
}

impl Records {
    /// Begins to read. JSON begins with a bracket; the delimiter of a table is the one that its first line has most
    /// of.
    ///
    /// # Errors
    /// Where the input cannot be read.
    pub(super) fn open(input: Box<dyn Read + Send>) -> io::Result<Self> {
        let mut input = BufReader::with_capacity(BUFFER, input);
        if input.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
            input.consume(3);
        }
        let head = input.fill_buf()?;
        let first = head.iter().find(|octet| !octet.is_ascii_whitespace());
        if matches!(first, Some(b'{' | b'[')) {
            return Ok(Self::Json(Objects::new(input)));
        }
        let line = head.split(|&octet| octet == b'\n').next().unwrap_or_default();
        let count = |delimiter: u8| line.iter().filter(|&&octet| octet == delimiter).count();
        let delimiter = [b'\t', b';', b',']
            .into_iter()
            .max_by_key(|&delimiter| count(delimiter));
        Ok(Self::Table(Table::new(input, delimiter.unwrap_or(b','))))
    }

    /// Whether it is a JSON text.
    pub(super) fn is_json(&self) -> bool {
        matches!(self, Self::Json(_))
    }

    /// Octets read so far.
    pub(super) fn octets(&self) -> u64 {
        match self {
            Self::Table(table) => table.octets(),
            Self::Json(objects) => objects.octets(),
        }
    }

    /// Reads the next record into `record`.
    ///
    /// # Errors
    /// Where the input cannot be read.
    pub(super) fn next(&mut self, record: &mut Record) -> io::Result<Next> {
        match self {
            Self::Table(table) => next_row(table, record),
            Self::Json(objects) => next_object(objects, record),
        }
    }
}

fn next_row(table: &mut Table<Input>, record: &mut Record) -> io::Result<Next> {
    if !matches!(record.fields, Fields::Row(_)) {
        record.fields = Fields::default();
    }
    let Fields::Row(fields) = &mut record.fields else {
        return Ok(Next::End);
    };
    Ok(match table.next(fields)? {
        Row::Read(line) => {
            record.line = line;
            Next::Record
        }
        Row::Bad(line, problem) => {
            record.line = line;
            Next::Bad(problem.into())
        }
        Row::End => Next::End,
    })
}

fn next_object(objects: &mut Objects<Input>, record: &mut Record) -> io::Result<Next> {
    let Some((line, octets)) = objects.next()? else {
        return Ok(Next::End);
    };
    record.line = line;
    let members: serde_json::Map<String, Value> = match serde_json::from_slice(&octets) {
        Ok(members) => members,
        Err(error) => {
            record.fields = Fields::Object(vec![(
                String::new(),
                String::from_utf8_lossy(&octets).into_owned(),
            )]);
            return Ok(Next::Bad(format!("expected a JSON object: {error}")));
        }
    };
    let members = members
        .into_iter()
        .map(|(name, value)| (plain(&name), text(value)));
    record.fields = Fields::Object(members.collect());
    Ok(Next::Record)
}

/// A value as a table would have it.
fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        Value::Null => String::new(),
        Value::Array(values) => values.into_iter().map(text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &'static [u8]) -> Vec<(u64, Result<String, String>)> {
        let mut records = Records::open(Box::new(text)).unwrap();
        let mut record = Record::default();
        let mut found = Vec::new();
        loop {
            match records.next(&mut record).unwrap() {
                Next::Record => found.push((record.line, Ok(record.text()))),
                Next::Bad(problem) => found.push((record.line, Err(problem))),
                Next::End => return found,
            }
        }
    }

    #[test]
    fn tables_are_read_whatever_parts_them() {
        let expected = vec![
            (1, Ok("email,reason".to_owned())),
            (2, Ok("a@x.test,b, c".to_owned())),
        ];
        assert_eq!(
            all(b"\xef\xbb\xbfemail,reason\r\na@x.test,\"b, c\"\r\n"),
            expected
        );
        assert_eq!(all(b"email;reason\na@x.test;b, c"), expected);
        assert_eq!(all(b"email\treason\na@x.test\tb, c\n"), expected);
        assert_eq!(all(b""), []);
    }

    #[test]
    fn a_bad_record_is_told_with_its_line() {
        let read = all(b"a@x.test\n\xff@x.test\n\nb@x.test\n");
        assert_eq!(read[0], (1, Ok("a@x.test".into())));
        assert_eq!(read[1], (2, Err("expected UTF-8, found other octets".into())));
        assert_eq!(read[2], (4, Ok("b@x.test".into())));
        let read = all(b"{\"Email\":\"a@x.test\",\"n\":1,\"t\":[\"x\",\"y\"]}\n{bad}\n{\"e\":null}");
        assert_eq!(read[0], (1, Ok("email=a@x.test, n=1, t=x,y".into())));
        assert!(read[1].0 == 2 && read[1].1.is_err());
        assert_eq!(read[2], (3, Ok("e=".into())));
    }
}

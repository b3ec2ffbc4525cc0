//! Finds the records of a JSON text without reading all of it at once: JSON Lines, an array of objects, or an object
//! that has one array of objects in it among other things, as the services' APIs answer.
//!
//! A record is an object in an array, or an object on its own at the top that holds no such array. Its octets are
//! handed out with its line; whether they are JSON is for the caller to find out. Nothing here fails but the input.

use std::io::{self, Read};

/// The longest record read, in octets: what is longer is no entry of a list of addresses.
const LONGEST: usize = 256 * 1024;
/// Octets read at once.
const CHUNK: usize = 64 * 1024;

/// A walk over a text.
pub(super) struct Objects<R> {
    input: R,
    /// What was read of it, and how far we are in that.
    chunk: Vec<u8>,
    at: usize,
    /// What stands open, outermost first.
    open: Vec<Open>,
    /// Where the record under way began to be open; `None` between records.
    record: Option<Record>,
    string: bool,
    escaped: bool,
    /// The next octet is the first of its line.
    first: bool,
    line: u64,
    octets: u64,
    buffer: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Array,
    Object,
}

#[derive(Clone, Copy)]
struct Record {
    /// How many stood open before it.
    depth: usize,
    line: u64,
    /// It stands in no array: it may turn out to be the wrapping of others.
    alone: bool,
}

impl<R: Read> Objects<R> {
    /// Begins at the beginning of a text.
    pub(super) fn new(input: R) -> Self {
        Self {
            input,
            chunk: Vec::new(),
            at: 0,
            open: Vec::new(),
            record: None,
            string: false,
            escaped: false,
            first: true,
            line: 1,
            octets: 0,
            buffer: Vec::new(),
        }
    }

    /// Octets read so far.
    pub(super) fn octets(&self) -> u64 {
        self.octets
    }

    /// The next record and its line; `None` at the end. A record that is cut off by the end comes as it is.
    ///
    /// # Errors
    /// Where the input cannot be read.
    pub(super) fn next(&mut self) -> io::Result<Option<(u64, Vec<u8>)>> {
        loop {
            if self.at == self.chunk.len() && !self.fill()? {
                let cut = self.record.take().filter(|_| !self.buffer.is_empty());
                return Ok(cut.map(|record| (record.line, std::mem::take(&mut self.buffer))));
            }
            let octet = self.chunk[self.at];
            // What begins a line begins a record: the one before it was never closed.
            let wrapped = self.open.last() == Some(&Open::Array);
            let torn = self
                .record
                .take_if(|record| octet == b'{' && self.first && !(record.alone && wrapped));
            if let Some(record) = torn {
                self.open.truncate(record.depth);
                return Ok(Some((record.line, std::mem::take(&mut self.buffer))));
            }
            self.at += 1;
            self.octets += 1;
            self.first = octet == b'\n';
            if let Some(record) = self.step(octet) {
                return Ok(Some((record.line, std::mem::take(&mut self.buffer))));
            }
        }
    }

    /// Reads on; whether there was more.
    fn fill(&mut self) -> io::Result<bool> {
        self.chunk.resize(CHUNK, 0);
        self.at = 0;
        loop {
            match self.input.read(&mut self.chunk) {
                Ok(octets) => {
                    self.chunk.truncate(octets);
                    return Ok(octets > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes an octet; the record that it ends.
    fn step(&mut self, octet: u8) -> Option<Record> {
        if self.record.is_some() && self.buffer.len() < LONGEST {
            self.buffer.push(octet);
        }
        if octet == b'\n' {
            self.line += 1;
        }
        if self.string {
            match octet {
                _ if self.escaped => self.escaped = false,
                b'\\' => self.escaped = true,
                b'"' => self.string = false,
                // A string ends with its line at the latest (RFC 8259 §7): a quote too many spoils one line only.
                b'\n' => self.string = false,
                _ => {}
            }
            return None;
        }
        match octet {
            b'"' => self.string = true,
            b'[' => self.open.push(Open::Array),
            b'{' => self.begin(),
            b']' | b'}' => return self.end(octet),
            _ => {}
        }
        None
    }

    fn begin(&mut self) {
        let in_array = self.open.last() == Some(&Open::Array);
        let wraps = self.record.is_some_and(|record| record.alone) && in_array;
        if (self.record.is_none() && (in_array || self.open.is_empty())) || wraps {
            self.record = Some(Record {
                depth: self.open.len(),
                line: self.line,
                alone: !in_array,
            });
            self.buffer.clear();
            self.buffer.push(b'{');
        }
        self.open.push(Open::Object);
    }

    fn end(&mut self, octet: u8) -> Option<Record> {
        let closes = if octet == b']' { Open::Array } else { Open::Object };
        // A bracket of the wrong kind: what was opened in between was never closed.
        while let Some(open) = self.open.pop() {
            if open == closes {
                break;
            }
        }
        self.record.take_if(|record| self.open.len() <= record.depth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(text: &str) -> Vec<(u64, String)> {
        let mut objects = Objects::new(text.as_bytes());
        let mut found = Vec::new();
        while let Some((line, octets)) = objects.next().unwrap() {
            found.push((line, String::from_utf8(octets).unwrap()));
        }
        assert_eq!(objects.octets(), text.len() as u64);
        found
    }

    fn is(text: &str, expected: &[(u64, &str)]) {
        let expected: Vec<(u64, String)> = expected.iter().map(|&(n, t)| (n, t.to_owned())).collect();
        assert_eq!(records(text), expected, "{text}");
    }

    #[test]
    fn records_are_found_however_they_are_wrapped() {
        is("{\"a\":1}\n{\"a\":2}\n", &[(1, "{\"a\":1}"), (2, "{\"a\":2}")]);
        is("[{\"a\":1},\n{\"a\":2}]", &[(1, "{\"a\":1}"), (2, "{\"a\":2}")]);
        is(
            "{\"items\":[{\"a\":1},\n{\"a\":{\"b\":[{}]}}],\"paging\":{\"x\":1}}",
            &[(1, "{\"a\":1}"), (2, "{\"a\":{\"b\":[{}]}}")],
        );
        is("{\"items\":[\n{\"a\":1}\n]}", &[(2, "{\"a\":1}")]);
        is("{\"a\":{\"b\":1}}", &[(1, "{\"a\":{\"b\":1}}")]);
        is("{\"t\":[\"*\"]}", &[(1, "{\"t\":[\"*\"]}")]);
        is("{\"a\":\"}{[\\\"\"}", &[(1, "{\"a\":\"}{[\\\"\"}")]);
        is("", &[]);
        is("[]", &[]);
    }

    #[test]
    fn a_spoiled_line_does_not_spoil_the_next() {
        is(
            "{\"a\":\"1}\n}\n{\"a\":2}\n",
            &[(1, "{\"a\":\"1}\n}"), (3, "{\"a\":2}")],
        );
        is("{\"a\":1", &[(1, "{\"a\":1")]);
        is(
            "{\"a\":\n{\"a\":{\"b\":2}}\n{\"a\":3}",
            &[(1, "{\"a\":\n"), (2, "{\"a\":{\"b\":2}}"), (3, "{\"a\":3}")],
        );
        is("}}]\n{\"a\":1}", &[(2, "{\"a\":1}")]);
    }
}

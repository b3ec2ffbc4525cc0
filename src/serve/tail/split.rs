//! Octets to lines, in bounded memory: a line longer than [`MAX_LINE`] is cut, its rest is skipped. What
//! has no line end yet waits for it.

use std::io;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest line that is kept, in octets. Postfix cuts its own at about 2,050.
pub const MAX_LINE: usize = 64 * 1024;

/// How many lines a chunk holds at most.
pub const MAX_LINES: usize = 1000;

/// How much is read at once, in octets.
pub(super) const READ: usize = 256 * 1024;

/// Some lines of a log, and how far it has been read with them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chunk {
    /// The lines, without their ends; at most [`MAX_LINES`]. None where only the position is new.
    pub lines: Vec<Vec<u8>>,
    /// Where reading goes on after these lines, to be kept with what became of them; `None` for a source
    /// that cannot be read again, and for context.
    pub position: Option<String>,
    /// Whether these lines lie before the position that was asked for: to be learnt from, not counted.
    pub context: bool,
}

/// Splits what it is fed into lines.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    partial: Vec<u8>,
}

impl Splitter {
    /// Takes octets and appends the lines that end in them, until `lines` holds [`MAX_LINES`]. Returns how
    /// many octets were taken, and how many of them belong to ended lines.
    pub(super) fn feed(&mut self, bytes: &[u8], lines: &mut Vec<Vec<u8>>) -> (usize, usize) {
        let mut ended = 0;
        for end in memchr::memchr_iter(b'\n', bytes) {
            if lines.len() >= MAX_LINES {
                return (ended, ended);
            }
            self.extend(&bytes[ended..end]);
            lines.push(std::mem::take(&mut self.partial));
            ended = end + 1;
        }
        if lines.len() >= MAX_LINES {
            return (ended, ended);
        }
        self.extend(&bytes[ended..]);
        (bytes.len(), ended)
    }

    fn extend(&mut self, bytes: &[u8]) {
        let room = MAX_LINE - self.partial.len();
        self.partial.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// What waits for its line end, if anything does.
    pub(super) fn finish(&mut self) -> Option<Vec<u8>> {
        (!self.partial.is_empty()).then(|| std::mem::take(&mut self.partial))
    }
}

/// Lines of a stream that is read once: standard input.
#[derive(Debug)]
pub struct Stream<R> {
    reader: R,
    buffer: Vec<u8>,
    splitter: Splitter,
    ended: bool,
}

impl<R: AsyncRead + Unpin> Stream<R> {
    /// Reads lines of a stream.
    #[must_use]
    pub fn new(reader: R) -> Self {
        Self {
            reader,
            buffer: Vec::with_capacity(READ),
            splitter: Splitter::default(),
            ended: false,
        }
    }

    /// The next lines, as soon as there is one; `None` at the end. A last line without an end counts.
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    /// What reading the stream says.
    pub async fn next(&mut self) -> io::Result<Option<Chunk>> {
        let mut lines = Vec::new();
        loop {
            let (taken, _) = self.splitter.feed(&self.buffer, &mut lines);
            self.buffer.drain(..taken);
            if self.ended && lines.is_empty() {
                lines.extend(self.splitter.finish());
            }
            if !lines.is_empty() {
                return Ok(Some(Chunk {
                    lines,
                    ..Chunk::default()
                }));
            }
            if self.ended {
                return Ok(None);
            }
            let room = (&mut self.reader)
                .take(READ as u64)
                .read_buf(&mut self.buffer)
                .await?;
            self.ended = room == 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_the_same_however_they_arrive() {
        let text = b"one\n\ntwo\r\nthree";
        for size in 1..text.len() {
            let (mut splitter, mut lines, mut ended) = (Splitter::default(), Vec::new(), 0);
            let mut before = 0;
            for piece in text.chunks(size) {
                let (taken, end) = splitter.feed(piece, &mut lines);
                assert_eq!(taken, piece.len());
                ended = if end > 0 { before + end } else { ended };
                before += taken;
            }
            assert_eq!(lines, [&b"one"[..], b"", b"two\r"]);
            assert_eq!(ended, text.len() - "three".len());
            assert_eq!(splitter.finish().unwrap(), b"three");
        }
    }

    #[test]
    fn long_lines_are_cut_and_chunks_are_bounded() {
        let (mut splitter, mut lines) = (Splitter::default(), Vec::new());
        for _ in 0..100 {
            splitter.feed(&vec![b'x'; MAX_LINE], &mut lines);
        }
        splitter.feed(b"\nnext\n", &mut lines);
        assert_eq!((lines[0].len(), lines[1].as_slice()), (MAX_LINE, &b"next"[..]));
        lines.clear();
        let (taken, ended) = splitter.feed(&b"x\n".repeat(MAX_LINES + 7), &mut lines);
        assert_eq!(
            (lines.len(), taken, ended),
            (MAX_LINES, 2 * MAX_LINES, 2 * MAX_LINES)
        );
    }

    #[tokio::test]
    async fn a_stream_ends_with_its_last_line() {
        let text = [&b"x\n".repeat(MAX_LINES + 1)[..], b"last"].concat();
        let mut stream = Stream::new(&text[..]);
        let mut lines = Vec::new();
        while let Some(chunk) = stream.next().await.unwrap() {
            assert!(chunk.lines.len() <= MAX_LINES && chunk.position.is_none());
            lines.extend(chunk.lines);
        }
        assert_eq!(
            (lines.len(), lines.last().unwrap().as_slice()),
            (MAX_LINES + 2, &b"last"[..])
        );
    }
}

//! The socketmap decoder: no input panics, none is held beyond the limit, and the same octets mean
//! the same requests whether they come at once or in two pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nixie::postfix::socketmap::{Answer, Decoder, MAX_REQUEST};

/// A length of six digits, the colon, and one octet that is awaited.
const FRAMING: usize = 8;

fn read(pieces: [&[u8]; 2]) -> (Vec<String>, bool) {
    let mut decoder = Decoder::default();
    let mut seen = Vec::new();
    for piece in pieces {
        decoder.feed(piece);
        loop {
            match decoder.decode() {
                Ok(Some(request)) => seen.push(request.to_string()),
                Ok(None) => break,
                Err(error) => {
                    let mut answer = Vec::new();
                    Answer::Perm(error.to_string()).encode(&mut answer);
                    assert!(answer.is_ascii());
                    return (seen, true);
                }
            }
        }
        assert!(decoder.waiting() <= MAX_REQUEST + FRAMING);
    }
    (seen, false)
}

fuzz_target!(|input: (u16, &[u8])| {
    let (at, bytes) = input;
    let (first, second) = bytes.split_at(usize::from(at).min(bytes.len()));
    assert_eq!(read([bytes, b""]), read([first, second]));
});

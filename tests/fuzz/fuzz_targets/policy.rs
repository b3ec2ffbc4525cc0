//! The policy decoder: no input panics, none is held beyond the limit, and the same octets mean the
//! same requests whether they come at once or in two pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nixie::postfix::policy::{Decoder, MAX_REQUEST, PolicyError};
use std::mem::{Discriminant, discriminant};

fn read(pieces: [&[u8]; 2]) -> (Vec<String>, Option<Discriminant<PolicyError>>) {
    let mut decoder = Decoder::default();
    let mut seen = Vec::new();
    for piece in pieces {
        decoder.feed(piece);
        loop {
            match decoder.decode() {
                Ok(Some(request)) => seen.push(format!("{request:?}")),
                Ok(None) => break,
                Err(error) => return (seen, Some(discriminant(&error))),
            }
        }
        assert!(decoder.waiting() <= MAX_REQUEST);
    }
    (seen, None)
}

fuzz_target!(|input: (u16, &[u8])| {
    let (at, bytes) = input;
    let (first, second) = bytes.split_at(usize::from(at).min(bytes.len()));
    assert_eq!(read([bytes, b""]), read([first, second]));
});

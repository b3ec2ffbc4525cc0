//! Octets as lines of a log: nothing panics, and no event holds what a store would refuse.
#![no_main]

use jiff::tz::TimeZone;
use libfuzzer_sys::fuzz_target;
use nixie::postfix::log::{Calendar, Joiner, Line, decode};

fuzz_target!(|data: &[u8]| {
    let mut calendar = Calendar::new(jiff::Timestamp::UNIX_EPOCH, TimeZone::UTC);
    let (mut joiner, mut events) = (Joiner::new(16), Vec::new());
    for bytes in data.split(|byte| *byte == b'\n') {
        let text = decode(bytes);
        if let Ok(line) = Line::parse(&text, &mut calendar) {
            joiner.push(&line, &mut events);
        }
    }
    for event in events {
        let texts = [Some(event.reply.text), event.sender, event.message_id, event.queue_id];
        assert!(!texts.iter().flatten().any(|text| text.contains('\0')));
    }
});

//! Any octets are a message: read and lowered to events without panic, and no event holds a control
//! character.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nixie::mail::event::Source;
use nixie::mail::message::{Envelope, events, read};

fuzz_target!(|raw: &[u8]| {
    let reading = read(raw);
    let envelope = Envelope { sender: Some(""), recipient: Some("b@bounces.app.test") };
    for event in events(&reading, envelope, Source::Lmtp, jiff::Timestamp::UNIX_EPOCH) {
        let said = format!("{}{}{:?}", event.recipient, event.reply, event.message_id);
        assert!(!said.contains('\0'));
    }
});

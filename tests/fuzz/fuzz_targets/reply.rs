//! Any text is a reply, and what is read of it can be written and read again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nixie::mail::received::Hop;
use nixie::mail::reply::Reply;

fuzz_target!(|text: &str| {
    let reply = Reply::parse(text);
    let again = Reply::parse(&reply.to_string());
    assert_eq!(reply.code, again.code);
    let _ = Hop::parse(text);
});

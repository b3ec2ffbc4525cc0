//! Any octets are a reply, read and judged: see `targets.rs`.
#![no_main]

#[path = "../targets.rs"]
mod targets;

// The rules are compiled once, before any input is timed.
libfuzzer_sys::fuzz_target!(init: targets::reply(b""), |input: &[u8]| targets::reply(input));

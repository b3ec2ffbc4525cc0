//! What a signature covers, and whose mail it is (RFC 6376, RFC 5322): see `targets.rs`.
#![no_main]

#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|input: &[u8]| targets::signed(input));

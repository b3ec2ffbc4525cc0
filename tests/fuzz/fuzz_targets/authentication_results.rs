//! What somebody found out about a mail (RFC 8601): see `targets.rs`.
#![no_main]

#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|input: &[u8]| targets::authentication_results(input));

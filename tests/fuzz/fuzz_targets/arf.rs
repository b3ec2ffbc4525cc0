//! Any octets are a feedback-report part (RFC 5965): see `targets.rs`.
#![no_main]

#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|input: &[u8]| targets::arf(input));

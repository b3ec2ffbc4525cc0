//! Any octets are a delivery-status part (RFC 3464): see `targets.rs`.
#![no_main]

#[path = "../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|input: &[u8]| targets::dsn(input));

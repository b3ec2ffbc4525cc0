//! Nixie.
fn main() {}

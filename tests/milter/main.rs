//! The milter without a Postfix: recorded sessions of a real one, and everything that it would never send.

#![allow(
    clippy::unwrap_used,
    reason = "a test fails by panicking, its functions included"
)]

mod client;
mod driver;
mod record;
mod replay;
mod socket;
mod store;

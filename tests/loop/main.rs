//! The loop on a real Postfix: one scenario per promise (README.md, "What it does" and "When things
//! fail"). Each has a Postfix, scripted providers and a Nixie of its own, on loopback.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

mod failing;
mod garbage;
mod kill;
mod milter;
mod notice;
mod release;
mod stage;
mod steering;
mod throttle;

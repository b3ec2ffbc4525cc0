//! Nixie closes the bounce loop for Postfix.
//!
//! The rooms, bottom up; imports point downward only (`tests/rooms.rs` holds us to it):
//!
//! | floor | room | belongs there |
//! |---|---|---|
//! | 6 | [`cli`] | arguments and human output |
//! | 5 | [`serve`] | listeners, intakes, hooks: thin async shells |
//! | 4 | [`store`] | SQL, behind one contract |
//! | 3 | [`engine`] | judgement: pure, synchronous, takes `now` |
//! | 2 | [`postfix`] | Postfix's protocols and log: bytes ⇄ types |
//! | 1 | [`mail`] | the mail standards: bytes → types |
//! | – | [`config`], [`clock`] | typed settings; the only reader of time |

pub mod cli;
pub mod clock;
pub mod config;
pub mod engine;
pub mod mail;
pub mod postfix;
pub mod serve;
pub mod store;

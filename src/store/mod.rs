//! Floor 4: what is kept. One contract, two stores behind it: SQLite for a single machine, Postgres
//! for a fleet. `sqlx::` appears only in this room, and no judgement does: a commit asks the
//! [`decide`](crate::engine::decide) function it is given what should change.
//!
//! **Invariants** (`tests/store.rs` holds both stores to them):
//! - A commit is one transaction: events, the changes they cause and the intake's position appear
//!   together or not at all.
//! - An event id is counted once, ever. A second arrival changes nothing but the position.
//! - Every change of a suppression leaves a row in the change feed, in the order of commits: a reader
//!   that has seen sequence `n` will never meet a smaller one later.
//!
//! On failure nothing is half-written; [`StoreError`] says whether trying again can help.

pub mod contract;
pub mod postgres;
pub mod sqlite;

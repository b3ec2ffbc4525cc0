//! Floor 5: listeners, intakes, hooks and supervision: thin asynchronous shells around the engine.

pub mod hook;
pub mod listen;

//! Floor 5: listeners, intakes and hooks. Thin asynchronous shells: no SQL, no judgement.

pub mod journal;
pub mod tail;

//! Floor 2: what Postfix speaks and writes. Bytes in, types out, and back; no sockets, no judgement.

pub mod flush;
pub mod lmtp;
pub mod log;
pub mod milter;
pub mod policy;
pub mod queue;
pub mod socketmap;
pub mod text;

//! The lab.

pub mod postgres;

//! Floor 3: judgement. Everything here is pure and synchronous and takes `now`: what is judged today
//! can be judged again tomorrow, with the same result.

pub mod alignment;
pub mod answer;
pub mod backlog;
pub mod classify;
pub mod decide;
pub mod exchanger;
pub mod explain;
pub mod gate;
pub mod heard;
pub mod memory;
pub mod normal;
pub mod provider;
pub mod replay;
pub mod return_path;
pub mod rule;
pub mod signing;
pub mod simulate;
pub mod suppression;
pub mod throttle;
pub mod token;
pub mod trust;
pub mod verdict;

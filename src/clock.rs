//! The only reader of time. Every judgement takes `now` as an argument, so that it can be tested,
//! replayed and simulated; the shells get it here.

use jiff::Timestamp;

/// The present instant of the system's wall clock.
#[must_use]
pub fn now() -> Timestamp {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that may read the clock"
    )]
    Timestamp::now()
}

/// The present instant of the clock that only goes forward: for time-outs and watchdogs, never for
/// judgement.
#[must_use]
pub fn monotonic() -> std::time::Instant {
    std::time::Instant::now()
}

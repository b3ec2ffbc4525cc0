//! Waiting for a condition with a deadline, where there is no event to wait for.
//!
//! On failure: an error that names the condition and the time it was given.

use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// How often a condition is looked at.
const INTERVAL: Duration = Duration::from_millis(5);

/// Asks `attempt` again and again until it gives a value.
///
/// # Errors
/// When `within` has passed, with `what` in the text; or at once when `attempt` itself fails.
pub fn until<T>(within: Duration, what: &str, mut attempt: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        if let Some(value) = attempt()? {
            return Ok(value);
        }
        if Instant::now() >= deadline {
            bail!("waited {within:?} for {what}, in vain");
        }
        std::thread::park_timeout(INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_value_or_names_what_was_missing() {
        let mut left = 3;
        let value = until(Duration::from_secs(5), "three tries", || {
            left -= 1;
            Ok((left == 0).then_some("there"))
        });
        assert_eq!(value.unwrap(), "there");
        let missing = until::<()>(Duration::from_millis(1), "the impossible", || Ok(None)).unwrap_err();
        assert!(missing.to_string().contains("the impossible"), "{missing}");
    }
}

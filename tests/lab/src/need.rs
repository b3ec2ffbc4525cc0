//! What a test needs of the machine: packages, and the right to run commands as root.
//!
//! `cargo test` alone leaves out what the machine cannot run and says so; with `NIXIE_REQUIRE_ALL` set
//! (as `make test` does) anything missing is a failure.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Whether a test that runs a real Postfix can run here. If it cannot, says what was left out and why,
/// past the test harness's capture.
///
/// # Panics
/// When something is missing and `NIXIE_REQUIRE_ALL` is set.
#[must_use]
pub fn postfix(test: &str) -> bool {
    granted(test, postfix_missing())
}

/// What is missing for a private Postfix; `None` when nothing is.
#[must_use]
pub fn postfix_missing() -> Option<String> {
    if !Path::new("/usr/sbin/postfix").exists() {
        return Some("Postfix is not installed (apt-get install postfix, or make test)".into());
    }
    if !may_be_root() {
        return Some("Postfix starts as root only, and sudo without a password is not available".into());
    }
    None
}

/// As [`postfix`], for any need: `missing` says what is lacking, `None` that nothing is.
///
/// # Panics
/// When something is missing and `NIXIE_REQUIRE_ALL` is set.
#[must_use]
pub fn granted(test: &str, missing: Option<String>) -> bool {
    let Some(missing) = missing else { return true };
    let required = std::env::var_os("NIXIE_REQUIRE_ALL").is_some_and(|v| !v.is_empty() && v != "0");
    assert!(!required, "{test} cannot be left out here: {missing}");
    left_out(test, &missing);
    false
}

/// Says that a test was left out, past the test harness's capture. By itself it never fails: for what
/// `make test` does not install either.
pub fn left_out(test: &str, missing: &str) {
    // The notice is a courtesy: a closed standard error must not fail the test.
    let _ = writeln!(std::io::stderr(), "left out: {test}: {missing}");
}

/// A command that runs as root: as it stands when we are root, through `sudo -n` when we are not.
#[must_use]
pub fn as_root(program: &str) -> Command {
    if is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["-n", program]);
    command
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

fn may_be_root() -> bool {
    is_root()
        || Command::new("sudo")
            .args(["-n", "true"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
}

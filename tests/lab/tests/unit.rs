//! The systemd units as systemd itself reads them: without a mistake, and hardened as they promise.
//!
//! systemd is not installed for this (a container has no use for it): without it the test is left out.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use nixie_lab::need;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The most that `systemd-analyze security` may say, of 10.
const EXPOSURE: f64 = 2.0;

fn systemd_analyze(arguments: &[&str], unit: &Path) -> String {
    let output = Command::new("systemd-analyze")
        .args(arguments)
        .arg(unit)
        .env("SYSTEMD_COLORS", "0")
        .output()
        .unwrap();
    let all = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&all).into_owned()
}

#[test]
fn units_are_read_without_complaint_and_hardened() {
    if !Path::new("/usr/bin/systemd-analyze").exists() {
        need::left_out("the systemd units", "systemd-analyze is not installed");
        return;
    }
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../systemd");
    let copies = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(units).unwrap() {
        let path = entry.unwrap().path();
        // systemd wants to see the program, which is not installed here.
        let text = fs::read_to_string(&path)
            .unwrap()
            .replace("/usr/bin/nixie", "/bin/true");
        fs::write(copies.path().join(path.file_name().unwrap()), text).unwrap();
    }
    for unit in [
        "nixie.service",
        "nixie-policy.socket",
        "nixie-socketmap.socket",
        "nixie-lmtp.socket",
        "nixie-milter.socket",
    ] {
        let complaints = systemd_analyze(&["verify", "--man=no"], &copies.path().join(unit));
        let ours: Vec<&str> = complaints.lines().filter(|line| line.contains("nixie")).collect();
        assert!(ours.is_empty(), "{unit}: {ours:?}");
    }
    let report = systemd_analyze(
        &["security", "--offline=true"],
        &copies.path().join("nixie.service"),
    );
    let exposure = report.lines().find_map(|line| {
        let (_, level) = line.split_once("Overall exposure level for nixie.service: ")?;
        level.split(' ').next()?.parse::<f64>().ok()
    });
    assert!(exposure.unwrap() <= EXPOSURE, "{report}");
}

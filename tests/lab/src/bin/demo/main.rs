//! `make demo`: what Nixie is for, in two minutes.
//!
//! A private Postfix mails three rounds of a newsletter to four scripted providers that have dead and
//! full mailboxes and hidden rate limits: once with Nixie's hooks, once without. Everything that is
//! printed was read from Postfix's log and replies, from Nixie, or from the providers' own counters.
//!
//! Usage: `demo [NIXIE]`, with the path of the program; by default the one beside this one.
//! On failure: an error that says what was waited for.

#![expect(clippy::print_stdout, reason = "telling is what a demo does")]

mod round;
mod story;
mod table;
mod world;

use anyhow::{Context, Result, bail};
use nixie_lab::need;
use std::path::PathBuf;

fn main() -> Result<()> {
    if let Some(missing) = need::postfix_missing() {
        bail!("the demo needs a Postfix of its own: {missing}");
    }
    let nixie = nixie()?;
    println!("{INTRODUCTION}");
    println!("With Nixie\n");
    let with = round::run(Some(&nixie))?;
    println!("\nThe same mail without Nixie\n");
    let without = round::run(None)?;
    println!("\n{}", table::compare(&without, &with));
    Ok(())
}

const INTRODUCTION: &str = "\
A private Postfix, four providers on loopback, a newsletter in three rounds to 160 addresses.
The providers have dead mailboxes and full ones, and three of them a rate limit that nobody is told.
To keep it short, Postfix tries again after 2 to 6 seconds and Nixie holds a lane for 5 at most:
in real life it is minutes to hours.
";

/// The program to show: named on the command line, or built beside this one.
fn nixie() -> Result<PathBuf> {
    let path = match std::env::args_os().nth(1) {
        Some(path) => PathBuf::from(path),
        None => std::env::current_exe()?.with_file_name("nixie"),
    };
    let shown = path.display().to_string();
    path.canonicalize()
        .with_context(|| format!("expected the nixie program at {shown} (cargo build --release builds it)"))
}

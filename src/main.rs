//! The `nixie` program: see [`nixie::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    nixie::cli::main()
}

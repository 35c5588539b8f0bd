//! The program: reads its command line and runs one command. Everything it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    fingerpost::cli::run()
}

//! The program: see the library's `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    medusafs::cli::run(std::env::args_os())
}

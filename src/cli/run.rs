//! From arguments to an exit code.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use super::{Args, Command, Exit, Failure, Output, mount, unmount, wait};

/// Does what was typed.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let output = Output;
    let args = match Args::try_parse_from(arguments) {
        Ok(args) => args,
        Err(asked) => {
            // clap prints help and version to stdout and calls that an error too.
            let exit = if asked.use_stderr() { Exit::Usage } else { Exit::Wished };
            return match asked.print() {
                Ok(()) => exit.into(),
                Err(_gone) => Exit::Unwished.into(),
            };
        }
    };
    match dispatch(args.command, output) {
        Ok(()) => Exit::Wished.into(),
        Err(failure) => {
            output.failure(&failure);
            failure.exit.into()
        }
    }
}

fn dispatch(command: Command, output: Output) -> Result<(), Failure> {
    match command {
        Command::Mount(args) => mount::mount(&args, output),
        Command::Unmount(args) => unmount::unmount(&args),
        Command::Wait { path } => wait::wait(&path, output),
        other => Err(Failure::new(Exit::Usage, format!("{other:?} is not there yet"))),
    }
}

//! From arguments to an exit code.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use super::{
    Args, Command, Exit, Failure, Output, backup, check, job, jobs, list, mount, trust, unmount,
    wait,
};

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
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::of(Exit::Unwished, &error))
    };
    match command {
        Command::Mount(args) => mount::mount(&args, output),
        Command::Unmount(args) => unmount::unmount(&args),
        Command::Wait { path } => wait::wait(&path, output),
        Command::List { config, json } => list::list(&config, json, output),
        Command::Status { config, json, name } => {
            list::status(&config, json, name.as_deref(), output)
        }
        Command::Jobs { config, json } => jobs::list(&config, json, output),
        Command::Check { config, json } => runtime()?.block_on(check::check(&config, json, output)),
        Command::Trust { config, yes, hosts } => {
            runtime()?.block_on(trust::trust(&config, &hosts, yes, output))
        }
        Command::Backup { config, full, node, name } => {
            let args = backup::BackupArgs { config, full, node, name };
            runtime()?.block_on(backup::backup(args, output))
        }
        Command::Restore { config, node, dry_run, accept, name } => {
            let args = backup::RestoreArgs { config, node, dry_run, accept, name };
            runtime()?.block_on(backup::restore(args, output))
        }
        Command::Cancel { config, job } => runtime()?.block_on(jobs::cancel(&config, &job, output)),
        Command::Resume { config, job } => runtime()?.block_on(jobs::resume(&config, &job, output)),
        Command::Undo { config, job } => runtime()?.block_on(jobs::undo(&config, &job, output)),
        Command::Job { folder } => runtime()?.block_on(job::job(&folder)),
        Command::Agent => {
            let runtime = runtime()?;
            let ended = runtime.block_on(job::agent());
            // A thread that hangs on the share would hold up the end for ever.
            runtime.shutdown_background();
            ended
        }
    }
}

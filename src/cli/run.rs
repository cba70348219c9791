//! From arguments to an exit code.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use clap_complete::Shell;

use super::{
    Args, Command, Exit, Failure, Output, backup, check, job, jobs, list, mount, trust, trust_node,
    unmount, wait,
};

/// Does what was typed.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let output = Output;
    let args = match Args::try_parse_from(arguments) {
        Ok(args) => args,
        // clap prints help and version to stdout and calls that an error too.
        Err(asked) if !asked.use_stderr() => {
            return match asked.print() {
                Ok(()) => Exit::Wished.into(),
                Err(_gone) => Exit::Unwished.into(),
            };
        }
        Err(asked) if asked.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            return match asked.print() {
                Ok(()) => Exit::Usage.into(),
                Err(_gone) => Exit::Unwished.into(),
            };
        }
        Err(asked) => {
            output.failure(&wrong_usage(&asked.to_string()));
            return Exit::Usage.into();
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

/// What clap says on many lines, as one sentence: what is wrong, then what is near to it, then
/// where to read on.
fn wrong_usage(said: &str) -> Failure {
    let joined = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut parts = said.split("\n\n");
    let first = parts.next().unwrap_or_default();
    let mut what = joined(first.trim_start_matches("error:"));
    let (mut near, mut usage) = (None, "medusafs");
    for part in parts.map(str::trim) {
        if let Some(tip) = part.strip_prefix("tip: ") {
            near.get_or_insert_with(|| joined(tip));
        } else if let Some(line) = part.strip_prefix("Usage: ") {
            usage = line;
        }
    }
    if let Some(near) = near {
        what = format!("{what} ({near})");
    }
    let command: Vec<&str> = usage
        .split_whitespace()
        .take_while(|word| word.starts_with(|letter: char| letter.is_ascii_lowercase()))
        .collect();
    if what.contains("unrecognized subcommand '/") {
        // So mount(8) calls it by mount.fuse, for a remount or `-t fuse.medusafs`.
        return Failure::new(Exit::Usage, what).hint(
            "mount with `medusafs mount`; for mount(8) install mount-medusafs as \
             /sbin/mount.medusafs and /sbin/mount.fuse.medusafs",
        );
    }
    Failure::new(Exit::Usage, what).hint(format!("see `{} --help`", command.join(" ")))
}

fn completions(shell: Shell, output: Output) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "medusafs", &mut script);
    output.text(&String::from_utf8_lossy(&script))
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
        Command::Unmount(args) => unmount::unmount(&args, output),
        Command::Wait { path } => wait::wait(&path, output),
        Command::List { config, json } => list::list(&config, json, output),
        Command::Status { config, json, name } => {
            list::status(&config, json, name.as_deref(), output)
        }
        Command::Jobs { config, json } => jobs::list(&config, json, output),
        Command::Check { config, json } => runtime()?.block_on(check::check(&config, json, output)),
        Command::Trust { config, node: Some(node), yes, hosts: _ } => {
            runtime()?.block_on(trust_node::trust_node(&config, &node, yes, output))
        }
        Command::Trust { config, node: None, yes, hosts } => {
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
        Command::Completions { shell } => completions(shell, output),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_says_what_it_does_how_it_is_used_and_how_it_ends() {
        let mut program = Args::command();
        program.build();
        for command in program.get_subcommands_mut().filter(|command| !command.is_hide_set()) {
            let name = command.get_name().to_owned();
            if matches!(name.as_str(), "help" | "completions") {
                continue;
            }
            let help = command.render_long_help().to_string();
            assert!(help.contains("Exit codes: 0 "), "{name}: {help}");
            assert!(name == "jobs" || help.contains(&format!("medusafs {name}")), "{name}");
            assert!(help.lines().all(|line| line.chars().count() <= 100), "{name}: {help}");
        }
    }

    fn said(line: &str) -> String {
        let asked = Args::try_parse_from(line.split(' ')).unwrap_err();
        wrong_usage(&asked.to_string()).to_string()
    }

    #[test]
    fn wrong_usage_is_one_sentence_that_says_where_to_read_on() {
        assert_eq!(
            said("medusafs mount"),
            "the following required arguments were not provided: <MOUNTPOINT>; see `medusafs mount \
             --help`"
        );
        assert!(said("medusafs mount --frob x").starts_with("unexpected argument '--frob' found"));
        assert!(said("medusafs stat").contains("a similar subcommand exists: 'status'"));
        assert!(said("medusafs stat").ends_with("; see `medusafs --help`"));
        assert!(said("medusafs /etc/m.ini /mnt").contains("/sbin/mount.fuse.medusafs"));
        for line in
            ["medusafs mount", "medusafs backup --nodes a", "medusafs frob", "medusafs list x"]
        {
            assert_eq!(said(line).lines().count(), 1, "{line}");
        }
    }
}

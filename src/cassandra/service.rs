//! Cassandra as a service of its machine: is it there, stop it, start it.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, sleep};

use super::process::{ProcessError, Program};

/// The class that a Cassandra runs, whatever its wrapper.
const DAEMON: &str = "org.apache.cassandra.service.CassandraDaemon";

/// How often a state that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// A Cassandra that runs on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningCassandra {
    /// Its process.
    pub pid: i32,
    /// `cassandra.storagedir`, if it was started with one: where directories are that
    /// cassandra.yaml does not name.
    pub storage_directory: Option<PathBuf>,
    /// `cassandra.config`, if it was started with one and it is a file.
    pub config: Option<PathBuf>,
}

/// Why Cassandra did not stop or start.
#[derive(Debug, Error)]
pub enum ServiceError {
    /// The processes of this machine cannot be seen.
    #[error("cannot see the machine's processes in /proc")]
    Processes(#[source] io::Error),
    /// The command could not be run to its end.
    #[error("cannot run `{command}`; correct [cassandra] start_cmd and stop_cmd")]
    Command {
        /// The command.
        command: String,
        /// Why.
        source: ProcessError,
    },
    /// The command failed, and Cassandra is not as it should be.
    #[error("`{command}` failed, and Cassandra still {state}: {said}")]
    Failed {
        /// The command.
        command: String,
        /// `runs` or `does not run`.
        state: &'static str,
        /// What it said.
        said: String,
    },
    /// The command was run, and nothing came of it in time.
    #[error(
        "Cassandra still {state} {} s after `{command}`; look into its system.log", .after.as_secs()
    )]
    Unmoved {
        /// The command.
        command: String,
        /// `runs` or `does not run`.
        state: &'static str,
        /// How long was waited.
        after: Duration,
    },
    /// It came up, and ended before it was ready.
    #[error("Cassandra ended soon after it was started; its system.log tells why")]
    EndedSoon,
}

/// The Cassandras that run on this machine, by what their processes are, not by a pid file: one
/// that outlived a power cut names another process.
pub fn running() -> Result<Vec<RunningCassandra>, ServiceError> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").map_err(ServiceError::Processes)? {
        let entry = entry.map_err(ServiceError::Processes)?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // One that ends meanwhile, or that is a kernel's thread, has no command line.
        let Ok(cmdline) = fs::read(entry.path().join("cmdline")) else { continue };
        found.extend(daemon(pid, &cmdline));
    }
    found.sort_by_key(|daemon| daemon.pid);
    Ok(found)
}

/// A process is Cassandra's if the class is one of its arguments; a shell or an editor that only
/// mentions it in a longer one is not.
fn daemon(pid: i32, cmdline: &[u8]) -> Option<RunningCassandra> {
    let words: Vec<_> = cmdline.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    let java = words.first()?.rsplit('/').next()?.starts_with("java");
    if !java || !words.iter().any(|word| *word == DAEMON) {
        return None;
    }
    let property = |name: &str| {
        let value = words.iter().rev().find_map(|word| word.strip_prefix(name));
        value.map(str::to_owned).filter(|value| !value.is_empty())
    };
    let config = property("-Dcassandra.config=").and_then(|url| {
        let path = url.strip_prefix("file://").or_else(|| url.strip_prefix("file:"));
        path.filter(|path| path.starts_with('/')).map(PathBuf::from)
    });
    let storage_directory = property("-Dcassandra.storagedir=").map(PathBuf::from);
    Some(RunningCassandra { pid, storage_directory, config })
}

/// Stops and starts Cassandra by the operator's own commands, which bring their `sudo` with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    stop_cmd: Vec<String>,
    start_cmd: Vec<String>,
}

impl Service {
    /// By these commands, each a program and its arguments: Medusa's `stop_cmd` and `start_cmd`.
    pub fn new(stop_cmd: Vec<String>, start_cmd: Vec<String>) -> Self {
        Self { stop_cmd, start_cmd }
    }

    /// Stops Cassandra, and waits until its process is gone. A command that fails is no failure if
    /// it is gone all the same.
    pub async fn stop(&self, deadline: Duration) -> Result<(), ServiceError> {
        self.bring_about(&self.stop_cmd, deadline, "runs", <[_]>::is_empty).await
    }

    /// Starts Cassandra, and waits until its process is there. That says nothing of its being
    /// ready: a bad start ends five to fifteen seconds later; wait for [`Service::stays`] beside
    /// asking nodetool.
    pub async fn start(&self, deadline: Duration) -> Result<(), ServiceError> {
        self.bring_about(&self.start_cmd, deadline, "does not run", |found| !found.is_empty()).await
    }

    /// Ends, with an error, as soon as Cassandra's process is gone: to wait for beside what asks
    /// whether it is ready.
    pub async fn stays(&self) -> ServiceError {
        loop {
            match running() {
                Ok(found) if found.is_empty() => return ServiceError::EndedSoon,
                Ok(_) => sleep(LOOK).await,
                Err(error) => return error,
            }
        }
    }

    async fn bring_about(
        &self,
        command: &[String],
        deadline: Duration,
        otherwise: &'static str,
        reached: impl Fn(&[RunningCassandra]) -> bool,
    ) -> Result<(), ServiceError> {
        let until = Instant::now() + deadline;
        let program = Program::new(command.iter().cloned());
        let shown = program.to_string();
        let finished = program
            .run(deadline)
            .await
            .map_err(|source| ServiceError::Command { command: shown.clone(), source })?;
        loop {
            if reached(&running()?) {
                return Ok(());
            }
            if !finished.success() {
                let said = finished.last_words();
                return Err(ServiceError::Failed { command: shown, state: otherwise, said });
            }
            if Instant::now() >= until {
                let (command, state, after) = (shown, otherwise, deadline);
                return Err(ServiceError::Unmoved { command, state, after });
            }
            sleep(LOOK).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<u8> {
        words.iter().flat_map(|word| word.bytes().chain([0])).collect()
    }

    #[test]
    fn a_cassandra_is_known_by_its_command_line() {
        let cmdline = words(&[
            "/usr/bin/java",
            "-Dcassandra.storagedir=/old",
            "-Dcassandra.storagedir=/var/lib/cassandra",
            "-Dcassandra.config=file:///etc/cassandra/cassandra.yaml",
            DAEMON,
        ]);
        let expected = RunningCassandra {
            pid: 7,
            storage_directory: Some("/var/lib/cassandra".into()),
            config: Some("/etc/cassandra/cassandra.yaml".into()),
        };
        assert_eq!(daemon(7, &cmdline), Some(expected));
    }

    #[test]
    fn what_only_mentions_cassandra_is_none() {
        let grep = words(&["grep", DAEMON, "/var/log/syslog"]);
        assert_eq!(daemon(7, &grep), None);
        let script =
            words(&["/bin/sh", "-c", "pgrep -f org.apache.cassandra.service.CassandraDaemon"]);
        assert_eq!(daemon(7, &script), None);
        let nodetool = words(&["java", "-cp", "/lib/*", "org.apache.cassandra.tools.NodeTool"]);
        assert_eq!(daemon(7, &nodetool), None);
        assert_eq!(daemon(7, b""), None);
    }

    #[tokio::test]
    async fn a_command_that_fails_is_forgiven_if_the_wish_is_fulfilled() {
        let service = Service::new(vec!["false".to_owned()], vec!["true".to_owned()]);
        let wished = |_: &[RunningCassandra]| true;
        let deadline = Duration::from_secs(20);
        let stopped = service.bring_about(&service.stop_cmd, deadline, "runs", wished).await;
        assert!(stopped.is_ok(), "{stopped:?}");
        let unwished = |_: &[RunningCassandra]| false;
        let failed = service.bring_about(&service.stop_cmd, deadline, "runs", unwished).await;
        assert!(matches!(failed, Err(ServiceError::Failed { .. })), "{failed:?}");
    }

    #[tokio::test]
    async fn a_wish_that_is_not_fulfilled_in_time_is_an_error() {
        let service = Service::new(vec!["true".to_owned()], vec!["true".to_owned()]);
        let never = |_: &[RunningCassandra]| false;
        let deadline = Duration::from_millis(300);
        let unmoved =
            service.bring_about(&service.start_cmd, deadline, "does not run", never).await;
        assert!(matches!(unmoved, Err(ServiceError::Unmoved { .. })), "{unmoved:?}");
    }
}

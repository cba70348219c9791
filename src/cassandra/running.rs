//! The Cassandras that run on this machine, and what they were started with.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The class that a Cassandra runs, whatever its wrapper.
const DAEMON: &str = "org.apache.cassandra.service.CassandraDaemon";

/// The class that nodetool runs, whatever its wrapper.
const NODETOOL: &str = "org.apache.cassandra.tools.NodeTool";

/// What Cassandra's packages start it with, besides cassandra.yaml.
const OF_PACKAGES: &str = "/usr/share/cassandra/cassandra.in.sh";

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

/// The Cassandras that run on this machine, by what their processes are, not by a pid file: one
/// that outlived a power cut names another process.
pub fn running() -> io::Result<Vec<RunningCassandra>> {
    let mut found: Vec<_> =
        command_lines()?.iter().filter_map(|(pid, cmdline)| daemon(*pid, cmdline)).collect();
    found.sort_by_key(|daemon| daemon.pid);
    Ok(found)
}

/// Whether a nodetool on this machine, whoever started it, waits for Cassandra to take the snapshot
/// `tag`: one whose parent was killed goes on, and so does Cassandra.
pub fn is_taking_snapshot(tag: &str) -> io::Result<bool> {
    let is_its = |(_, cmdline): &(i32, Vec<u8>)| {
        let has = |word: &str| cmdline.split(|byte| *byte == 0).any(|it| it == word.as_bytes());
        [NODETOOL, "snapshot", tag].into_iter().all(has)
    };
    Ok(command_lines()?.iter().any(is_its))
}

/// Of every process, its words, each with a zero byte behind it.
fn command_lines() -> io::Result<Vec<(i32, Vec<u8>)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // One that ends meanwhile, or that is a kernel's thread, has no command line.
        let Ok(cmdline) = fs::read(entry.path().join("cmdline")) else { continue };
        found.push((pid, cmdline));
    }
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

/// Those that have `config` as their cassandra.yaml; where none is known to, those of which it is not
/// known what they have.
pub fn with_config(running: Vec<RunningCassandra>, config: &Path) -> Vec<RunningCassandra> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_absent| path.to_owned());
    let wished = real(config);
    let tells = |it: &RunningCassandra| it.config.as_deref().map(|told| real(told) == wished);
    let wanted = running.iter().any(|it| tells(it) == Some(true)).then_some(true);
    running.into_iter().filter(|it| tells(it) == wanted).collect()
}

/// Java's `cassandra.storagedir` of these, below which are the directories that cassandra.yaml does
/// not name; none if they tell none, or different ones.
pub fn storage_directory(running: &[RunningCassandra]) -> Option<PathBuf> {
    let mut told = running.iter().map(|it| it.storage_directory.as_ref());
    let first = told.next()??;
    told.all(|other| other == Some(first)).then(|| first.clone())
}

/// The same where Cassandra's packages have it, for one that does not run.
pub fn packaged_storage_directory() -> Option<PathBuf> {
    packaged(&fs::read_to_string(OF_PACKAGES).ok()?)
}

fn packaged(script: &str) -> Option<PathBuf> {
    let mut values =
        script.lines().filter_map(|it| it.trim().strip_prefix("cassandra_storagedir="));
    let value = values.next_back()?.trim_matches(['"', '\'']);
    (value.starts_with('/') && !value.contains('$')).then(|| PathBuf::from(value))
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

    fn started(config: Option<&str>, storage: &str) -> RunningCassandra {
        let (config, storage) = (config.map(PathBuf::from), Some(storage.into()));
        RunningCassandra { pid: 7, storage_directory: storage, config }
    }

    #[test]
    fn of_several_cassandras_that_one_counts_which_has_the_configuration() {
        let ours = Path::new("/etc/a/cassandra.yaml");
        let found = |all: &[RunningCassandra]| storage_directory(&with_config(all.to_vec(), ours));
        let (a, b) = (started(Some("/etc/a/cassandra.yaml"), "/a"), started(Some("/etc/b"), "/b"));
        let (silent, other) = (started(None, "/c"), started(None, "/d"));
        assert_eq!(found(&[b.clone(), silent.clone(), a]), Some("/a".into()));
        assert_eq!(found(&[b.clone(), silent.clone()]), Some("/c".into()));
        assert_eq!(found(&[silent, other]), None);
        assert_eq!(found(&[b]), None);
    }

    #[test]
    fn what_packages_say_counts_if_it_is_a_plain_path() {
        let script = "CASSANDRA_CONF=/etc/cassandra\ncassandra_storagedir=\"/var/lib/cassandra\"\n";
        assert_eq!(packaged(script), Some("/var/lib/cassandra".into()));
        assert_eq!(packaged("cassandra_storagedir=\"$CASSANDRA_HOME/data\"\n"), None);
    }
}

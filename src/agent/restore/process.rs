//! Which process is this node's Cassandra, and what the service manager calls it.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::places::Directories;
use crate::cassandra::{CassandraYaml, RunningCassandra};

/// A process, told from any other before and after it that had its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: i32,
    /// The user that it runs as.
    pub uid: u32,
    /// When it was started, in clock ticks since the machine was.
    pub started: u64,
    /// The machine's start.
    pub boot: String,
}

impl Process {
    /// The process of that number; none if it has ended.
    pub(super) fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let uid = fs::metadata(format!("/proc/{pid}")).ok()?.uid();
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Some(Self { pid, uid, started: started(&stat)?, boot: boot.trim().to_owned() })
    }
}

/// The 22nd field of /proc/PID/stat. The second one, the name, may hold blanks and brackets.
fn started(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(19)?.parse().ok()
}

/// Whether a Cassandra is the one that `yaml` describes. It is, unless it has provably been started
/// with another file that names none of `directories`: to take another one for this one delays a
/// restore, to overlook this one destroys its data.
pub(super) fn is_of(process: &RunningCassandra, yaml: &Path, directories: &Directories) -> bool {
    let root = PathBuf::from(format!("/proc/{}/root", process.pid));
    let Some(its_yaml) = configuration(process) else { return true };
    let (Some(its), Some(this)) = (identity(&its_yaml), identity(yaml)) else { return true };
    if its == this {
        return true;
    }
    let storage = process.storage_directory.as_deref();
    let Ok(its_yaml) = CassandraYaml::load(&its_yaml, storage) else { return true };
    let its = named_in(&its_yaml);
    let its: BTreeSet<_> = its.iter().filter_map(|path| identity(&within(&root, path))).collect();
    let mut ours = directories.all().into_iter().filter_map(identity);
    its.is_empty() || ours.any(|one| its.contains(&one))
}

/// The cassandra.yaml that a process was started with, as this process can open it: told by a
/// property, else the first one in its class path.
pub(in crate::agent) fn configuration(process: &RunningCassandra) -> Option<PathBuf> {
    let root = PathBuf::from(format!("/proc/{}/root", process.pid));
    if let Some(told) = &process.config {
        return Some(within(&root, told));
    }
    let cmdline = fs::read(format!("/proc/{}/cmdline", process.pid)).ok()?;
    let words: Vec<_> = cmdline.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    let option = |word: &str| matches!(word, "-cp" | "-classpath" | "--class-path");
    let place = words.iter().position(|word| option(word))?;
    let entries = words.get(place + 1)?.split(':').filter(|entry| entry.starts_with('/'));
    let mut found = entries.map(|entry| within(&root, Path::new(entry)).join("cassandra.yaml"));
    found.find(|path| path.is_file())
}

/// A path as a process sees it, that may have another root than this one.
fn within(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// Every directory that a cassandra.yaml names.
fn named_in(yaml: &CassandraYaml) -> Vec<PathBuf> {
    let mut all = yaml.all_data_directories();
    all.extend([
        yaml.commitlog_directory.clone(),
        yaml.saved_caches_directory.clone(),
        yaml.hints_directory.clone(),
    ]);
    all.extend(yaml.cdc_raw_directory.clone());
    all
}

/// The unit that `pid` belongs to, if nothing but `cassandras` does. A Cassandra that was started
/// by hand from a session, by cron or by a configuration tool may be in the unit of that, and
/// masking it would take sshd or cron from the machine.
pub(super) fn own_unit(pid: i32, cassandras: &[i32]) -> Option<String> {
    let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let (group, unit) = group_and_unit(&cgroups)?;
    let procs = fs::read_to_string(group.join("cgroup.procs")).ok()?;
    is_theirs_alone(&procs, pid, cassandras).then_some(unit)
}

/// systemd's group and its unit, in a /proc/PID/cgroup: `0::/system.slice/cassandra.service`.
fn group_and_unit(cgroups: &str) -> Option<(PathBuf, String)> {
    cgroups.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let tree = match controllers {
            "" if Path::new("/sys/fs/cgroup/unified").is_dir() => "/sys/fs/cgroup/unified",
            "" => "/sys/fs/cgroup",
            "name=systemd" => "/sys/fs/cgroup/systemd",
            _ => return None,
        };
        let unit = path.rsplit('/').next().filter(|name| name.ends_with(".service"))?;
        Some((within(Path::new(tree), Path::new(path)), unit.to_owned()))
    })
}

fn is_theirs_alone(procs: &str, pid: i32, cassandras: &[i32]) -> bool {
    let mut found = procs.lines().map(str::parse::<i32>);
    procs.lines().any(|line| line.parse() == Ok(pid))
        && found.all(|found| found.is_ok_and(|found| cassandras.contains(&found)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_read_from_either_kind_of_cgroup() {
        let unit = |text: &str| group_and_unit(text).map(|(_, unit)| unit);
        assert_eq!(unit("0::/system.slice/cassandra.service\n").unwrap(), "cassandra.service");
        let old = "12:pids:/system.slice/x.service\n1:name=systemd:/system.slice/dse.service\n";
        let (group, unit_name) = group_and_unit(old).unwrap();
        assert_eq!(unit_name, "dse.service");
        assert_eq!(group, Path::new("/sys/fs/cgroup/systemd/system.slice/dse.service"));
        assert_eq!(unit("0::/user.slice/user-0.slice/user@0.service/session-3.scope\n"), None);
    }

    #[test]
    fn a_unit_that_holds_anything_else_is_not_cassandras() {
        assert!(is_theirs_alone("812\n", 812, &[812]));
        assert!(!is_theirs_alone("700\n812\n", 812, &[812]), "sshd is in it");
        assert!(!is_theirs_alone("", 812, &[812]));
    }

    #[test]
    fn a_process_is_told_by_its_start_whatever_its_name() {
        let stat = "812 (a) b (java) S 1 812 812 0 -1 4194304 1 0 0 0 1 1 0 0 20 0 9 0 4711 1 1";
        assert_eq!(started(stat), Some(4711));
        let me = i32::try_from(std::process::id()).unwrap();
        assert_eq!(Process::of(me), Process::of(me));
        assert!(Process::of(me).is_some_and(|me| !me.boot.is_empty() && me.started > 0));
    }

    /// The process of this test, as if it were a Cassandra with that configuration.
    fn with_config(config: Option<&Path>) -> RunningCassandra {
        RunningCassandra {
            pid: i32::try_from(std::process::id()).unwrap(),
            storage_directory: None,
            config: config.map(Path::to_owned),
        }
    }

    #[test]
    fn a_cassandra_is_ours_unless_its_own_file_names_other_directories() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        for name in ["disk", "data", "data2", "commitlog"] {
            fs::create_dir(at(name)).unwrap();
        }
        std::os::unix::fs::symlink(at("disk"), at("linked")).unwrap();
        let write = |name: &str, data: &str| {
            let home = home.path().display();
            let names = ["commitlog", "saved_caches", "hints", "cdc_raw"];
            let others = names.map(|it| format!("{it}_directory: {home}/{data}-{it}\n")).concat();
            let text = format!("data_file_directories: [{home}/{data}]\n{others}");
            fs::write(at(name), text).unwrap();
            at(name)
        };
        let ours = write("ours.yaml", "linked");
        let copy = write("copy.yaml", "disk");
        let other = write("other.yaml", "data2");
        let yaml = CassandraYaml::load(&ours, Some(home.path())).unwrap();
        let directories = super::super::live::directories(&yaml);
        assert_eq!(directories.data, [at("disk").canonicalize().unwrap()]);
        let is_ours = |config: Option<&Path>| is_of(&with_config(config), &ours, &directories);
        assert!(is_ours(Some(&ours)) && is_ours(Some(&copy)) && is_ours(None));
        assert!(is_ours(Some(&at("gone.yaml"))), "what cannot be told is ours");
        assert!(!is_ours(Some(&other)));
    }
}

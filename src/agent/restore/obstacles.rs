//! Why a restore cannot begin on a node: looked at, nothing changed.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Mount;
use super::error::RestoreError;
use super::fence;
use super::order::Job;
use super::places::HIDDEN;
use super::process::Process;
use super::protocol::JobReport;
use crate::model::JobState;

/// What stands against it, each with what to do after a semicolon. `process` is Cassandra's, if it
/// runs; `jobs` are the restores of this node.
pub(super) fn obstacles(
    job: &Job,
    jobs: &[JobReport],
    process: Option<&Process>,
) -> Result<Vec<String>, RestoreError> {
    let mut found = Vec::new();
    if !rustix::process::geteuid().is_root() {
        found.push(
            "the agent does not run as root and can neither close the data directories nor give \
             files to Cassandra's user; set use_sudo"
                .to_owned(),
        );
    }
    unsettled(job, jobs, &mut found)?;
    if job.contents.files.is_empty() {
        found.push("the backup holds no files of this node; take another backup".to_owned());
    }
    misowned(job, process, &mut found)?;
    nested(job, &mut found);
    mounted(job, &mut found)?;
    elsewhere(job, &mut found)?;
    Ok(found)
}

/// Another restore that has not ended, or its fence.
fn unsettled(job: &Job, jobs: &[JobReport], found: &mut Vec<String>) -> Result<(), RestoreError> {
    let first = job.site.directories.first()?;
    let is_unsettled = |report: &&JobReport| {
        let ended = [JobState::Done, JobState::Undone, JobState::Cancelled];
        report.job != job.order.job && !ended.contains(&report.state)
    };
    let is_own_fence = jobs.iter().any(|report| report.job == job.order.job && report.fenced);
    let mut others = jobs.iter().filter(is_unsettled).peekable();
    if others.peek().is_none() && fence::path(first).exists() && !is_own_fence {
        let path = fence::path(first);
        found.push(format!("a fence stands at {}; it says what to do", path.display()));
    }
    for other in others {
        let job = &other.job;
        let remedy = if other.is_untouched() {
            format!("if it does not run, \"medusafs undo {job}\" removes what it staged")
        } else {
            fence::remedy(job)
        };
        found.push(format!("another restore has not ended on this node; {remedy}"));
    }
    Ok(())
}

/// What is placed belongs to whom the data directory belongs, and may be done with what may be done
/// with that: Cassandra does not notice at its start that it cannot write, only days later.
fn misowned(
    job: &Job,
    process: Option<&Process>,
    found: &mut Vec<String>,
) -> Result<(), RestoreError> {
    // Closed directories are root's: see the fence.
    let is_fenced = fence::path(job.site.directories.first()?).exists();
    if is_fenced || process.is_some_and(|process| process.uid == 0) {
        return Ok(());
    }
    for (path, owner) in &job.site.owners {
        let shown = path.display();
        match process {
            Some(process) if process.uid != owner.uid => found.push(format!(
                "{shown} belongs to user {}, Cassandra runs as user {1}, and what is placed would \
                 not be its own; `chown {1} {shown}`",
                owner.uid, process.uid
            )),
            // Where it runs as root all in it is root's.
            None if owner.uid == 0 && !is_all_of_root(path)? => found.push(format!(
                "{shown} belongs to root, and so would what is placed, which Cassandra could not \
                 write; give it to the user that Cassandra runs as"
            )),
            _ if owner.mode & 0o002 != 0 => found.push(format!(
                "{shown} may be written by everybody, and so might what is placed; `chmod o-w \
                 {shown}`"
            )),
            _ => {}
        }
    }
    Ok(())
}

fn is_all_of_root(directory: &Path) -> Result<bool, RestoreError> {
    let mut any = false;
    for name in directories_in(directory)? {
        let path = directory.join(name);
        any = true;
        if fs::metadata(&path).map_err(RestoreError::disk("look at", &path))?.uid() != 0 {
            return Ok(false);
        }
    }
    Ok(any)
}

/// Whether a restore moves what is called `below` in one of the node's directories.
fn moves(job: &Job, directory: &Path, below: &Path) -> bool {
    let Some(first) = below.iter().next().and_then(|name| name.to_str()) else { return false };
    let is_emptied = job.site.directories.emptied.iter().any(|emptied| emptied == directory);
    if is_emptied { first != HIDDEN } else { job.concerns(first) }
}

/// A directory in another one would be moved with what that holds.
fn nested(job: &Job, found: &mut Vec<String>) {
    const REMEDY: &str = "give each its own directory in cassandra.yaml";
    let directories = &job.site.directories;
    for emptied in &directories.emptied {
        if directories.holding_keyspaces().contains(&emptied.as_path()) {
            let shown = emptied.display();
            found.push(format!(
                "{shown} holds data, and commit log, hints or the like as well; {REMEDY}"
            ));
        }
    }
    for outer in directories.all() {
        for inner in directories.all() {
            if inner.strip_prefix(outer).is_ok_and(|below| moves(job, outer, below)) {
                let (inner, outer) = (inner.display(), outer.display());
                found.push(format!(
                    "{inner} lies in {outer}, and a restore would move it with that; {REMEDY}"
                ));
            }
        }
    }
}

/// What is mounted cannot be renamed.
fn mounted(job: &Job, found: &mut Vec<String>) -> Result<(), RestoreError> {
    let path = Path::new("/proc/self/mountinfo");
    let mountinfo = fs::read_to_string(path).map_err(RestoreError::disk("read", path))?;
    found.extend(mounted_in(job, Mount::all(&mountinfo).map(|mount| mount.on)));
    Ok(())
}

fn mounted_in(job: &Job, mounts: impl Iterator<Item = PathBuf>) -> Vec<String> {
    let all = job.site.directories.all();
    let in_the_way = mounts.filter_map(|on| {
        let outer = all.iter().find(|outer| {
            on.strip_prefix(outer).is_ok_and(|below| moves(job, outer, below))
                && !all.contains(&on.as_path())
        })?;
        Some(format!(
            "{} is a mount in {} and cannot be renamed; unmount it, or copy the files by hand",
            on.display(),
            outer.display()
        ))
    });
    in_the_way.collect()
}

/// Keyspaces and tables that a link puts on another disk would come back on this one.
fn elsewhere(job: &Job, found: &mut Vec<String>) -> Result<(), RestoreError> {
    for directory in job.site.directories.holding_keyspaces() {
        let device = device(directory)?;
        for keyspace in directories_in(directory)? {
            if !job.concerns(&keyspace) {
                continue;
            }
            let path = directory.join(&keyspace);
            let is_elsewhere = |path: &Path| {
                let is_link = fs::symlink_metadata(path).is_ok_and(|it| it.is_symlink());
                is_link && fs::metadata(path).is_ok_and(|it| it.dev() != device)
            };
            let tables = directories_in(&path)?.into_iter().map(|table| path.join(table));
            let far = std::iter::once(path.clone()).chain(tables).find(|path| is_elsewhere(path));
            if let Some(far) = far {
                found.push(format!(
                    "{} lies on another disk than {}, and a restore would bring it back here; \
                     move it back first, or copy the files by hand",
                    far.display(),
                    directory.display(),
                ));
            }
        }
    }
    Ok(())
}

fn device(path: &Path) -> Result<u64, RestoreError> {
    Ok(fs::metadata(path).map_err(RestoreError::disk("look at", path))?.dev())
}

/// Names of directories, and of links to some, in a directory; hidden ones left out.
pub(super) fn directories_in(path: &Path) -> Result<Vec<String>, RestoreError> {
    let entries = fs::read_dir(path).map_err(RestoreError::disk("list", path))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(RestoreError::disk("list", path))?;
        if let Ok(name) = entry.file_name().into_string()
            && !name.starts_with('.')
            && name != "lost+found"
            && entry.path().is_dir()
        {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown};
    use std::sync::Arc;

    use super::super::disk::Owner;
    use super::super::order::{Contents, Order, OtherKeyspaces, Site};
    use super::super::places::Directories;
    use super::*;
    use crate::model::{BackupName, ByteSize, Fqdn, JobId, Keyspace, TableDirectory};

    fn job(directories: Directories, owners: Vec<(PathBuf, Owner)>) -> Job {
        let table = (Keyspace::parse("shop").unwrap(), TableDirectory::parse("orders-1").unwrap());
        Job {
            order: Order {
                job: JobId::parse("20261122T161400Z-restore-nightly").unwrap(),
                backup: BackupName::parse("nightly").unwrap(),
                node: Fqdn::parse("node1").unwrap(),
                store: "/mnt/backup/medusa".into(),
                prefix: None,
                manifest: None,
                other_keyspaces: OtherKeyspaces::Stay,
                stop_command: Vec::new(),
                start_command: Vec::new(),
                bandwidth: ByteSize(0),
                threads: 1,
                undo_keep_seconds: 0,
                share_seconds: 1,
                drain_seconds: 1,
                stop_seconds: 1,
                start_seconds: 1,
            },
            site: Site { directories, owners },
            contents: Arc::new(Contents { tables: vec![table], files: Vec::new() }),
        }
    }

    fn at(data: &str, emptied: &[&str]) -> Job {
        let emptied = emptied.iter().map(Into::into).collect();
        let data = vec![data.into(), "/data2".into()];
        job(Directories { data, local_system: None, emptied }, Vec::new())
    }

    fn nested_in(job: &Job) -> Vec<String> {
        let mut found = Vec::new();
        nested(job, &mut found);
        found
    }

    #[test]
    fn a_directory_in_one_that_is_moved_is_an_obstacle() {
        assert!(nested_in(&at("/c/data", &["/c/commitlog", "/c/cdc_raw"])).is_empty());
        let cdc = nested_in(&at("/c/data", &["/c/commitlog", "/c/commitlog/cdc_raw"]));
        assert!(cdc[0].contains("cdc_raw lies in /c/commitlog,"), "{cdc:?}");
        // In a data directory only what bears the name of one of its keyspaces is moved.
        assert!(nested_in(&at("/c", &["/c/commitlog"])).is_empty());
        assert_eq!(nested_in(&at("/c", &["/c/shop/commitlog"])).len(), 1);
        assert_eq!(nested_in(&at("/c", &["/c"])).len(), 1);
    }

    #[test]
    fn what_is_mounted_and_would_be_moved_is_an_obstacle_whatever_its_device() {
        let job = at("/c/data", &["/c/commitlog"]);
        let in_the_way = |on: &str| mounted_in(&job, [PathBuf::from(on)].into_iter());
        assert!(in_the_way("/c/data/shop")[0].contains("/c/data/shop is a mount in /c/data "));
        assert_eq!(in_the_way("/c/data/shop/orders-1").len(), 1);
        assert_eq!(in_the_way("/c/commitlog/x").len(), 1);
        for fine in ["/c/data", "/c/commitlog", "/c", "/c/data/other", "/data2"] {
            assert_eq!(in_the_way(fine), Vec::<String>::new(), "{fine}");
        }
    }

    fn process(uid: u32) -> Process {
        Process { pid: 1, uid, started: 1, boot: String::new() }
    }

    #[test]
    fn a_directory_whose_owner_is_not_cassandras_user_is_an_obstacle() {
        let home = tempfile::tempdir().unwrap();
        let data = home.path().join("data");
        fs::create_dir_all(data.join("shop")).unwrap();
        let obstacles = |uid: u32, mode: u32, process: Option<Process>| {
            chown(&data, Some(uid), Some(uid)).unwrap();
            fs::set_permissions(&data, fs::Permissions::from_mode(mode)).unwrap();
            let directories =
                Directories { data: vec![data.clone()], local_system: None, emptied: Vec::new() };
            let owners = Site::of(&directories).unwrap().owners;
            let mut found = Vec::new();
            misowned(&job(directories, owners), process.as_ref(), &mut found).unwrap();
            found.len()
        };
        assert_eq!(obstacles(4242, 0o750, Some(process(4242))), 0);
        assert_eq!(obstacles(4242, 0o777, Some(process(4242))), 1, "everybody may write");
        assert_eq!(obstacles(0, 0o755, Some(process(4242))), 1);
        assert_eq!(obstacles(0, 0o755, Some(process(0))), 0);
        // It is down, and has run as root.
        assert_eq!(obstacles(0, 0o755, None), 0);
        chown(data.join("shop"), Some(4242), Some(4242)).unwrap();
        assert_eq!(obstacles(0, 0o755, None), 1);
    }
}

//! What a restore would find on the node and do to it: looked at, nothing changed.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::error::RestoreError;
use super::fence;
use super::order::{Contents, Job, Order, Site};
use super::places::Directories;
use super::protocol::{DataDirectory, Folders, JobReport, PlanFacts, TableOnDisk};
use super::report;
use super::stage;
use crate::model::{JobState, Keyspace, Md5, TableDirectory};

/// Looks at the node. `running` says whether Cassandra does.
pub(super) fn plan(
    order: &Order,
    directories: &Directories,
    manifest: Md5,
    contents: Contents,
    running: bool,
) -> Result<PlanFacts, RestoreError> {
    let site = Site::of(directories)?;
    let job = Job { order: order.clone(), site, contents };
    let assignment = stage::look(&order.job, directories, &job.contents)?;
    let jobs = report::all(directories)?;
    let tables_on_disk = tables_on_disk(directories)?;
    let tables_in_backup: BTreeSet<_> = job
        .contents
        .tables
        .iter()
        .map(|(keyspace, table)| TableOnDisk {
            keyspace: keyspace.clone(),
            directory: table.clone(),
        })
        .collect();
    let mut obstacles = obstacles(&job, &jobs)?;
    obstacles.extend(assignment.too_big(stage::free_bytes).map(|error| error.to_string()));
    let set_aside = set_aside(&job, &tables_in_backup, &tables_on_disk)?;
    let data = job.site.owners.iter().map(|(path, owner)| DataDirectory {
        path: path.clone(),
        owner: *owner,
        total_bytes: total_bytes(path),
        free_bytes: stage::free_bytes(path),
        needed_bytes: assignment.needed_bytes.get(path).copied().unwrap_or_default(),
    });
    let (files_here, bytes_here) = assignment.count(|found| found.live || found.staged);
    Ok(PlanFacts {
        manifest,
        directories: data.collect(),
        files: job.contents.files.len() as u64,
        bytes: job.contents.bytes(),
        files_here,
        bytes_here,
        tables_in_backup: tables_in_backup.into_iter().collect(),
        tables_on_disk: tables_on_disk.into_iter().collect(),
        set_aside,
        running,
        obstacles,
        jobs,
    })
}

fn total_bytes(path: &Path) -> u64 {
    rustix::fs::statvfs(path).map_or(0, |found| found.f_blocks.saturating_mul(found.f_frsize))
}

/// Why a restore cannot begin on this node, each with what to do.
pub(super) fn obstacles(job: &Job, jobs: &[JobReport]) -> Result<Vec<String>, RestoreError> {
    let mut found = Vec::new();
    if !rustix::process::geteuid().is_root() {
        found.push(
            "the agent does not run as root and can neither close the data directories nor give \
             files to Cassandra's user; set use_sudo"
                .to_owned(),
        );
    }
    let first = job.site.directories.first()?;
    let unsettled = |report: &&JobReport| {
        let ended = [JobState::Done, JobState::Undone, JobState::Cancelled];
        report.job != job.order.job && !ended.contains(&report.state)
    };
    let mut others = jobs.iter().filter(unsettled).peekable();
    if others.peek().is_none() && fence::path(first).exists() && !is_fenced_by(job, jobs) {
        let path = fence::path(first);
        found.push(format!("a fence stands at {}; it says what to do", path.display()));
    }
    for other in others {
        let remedy = fence::remedy(&other.job);
        found.push(format!("another restore has not ended on this node; {remedy}"));
    }
    if job.contents.files.is_empty() {
        found.push("the backup holds no files of this node; take another backup".to_owned());
    }
    for directory in job.site.directories.holding_keyspaces() {
        let device = device(directory)?;
        for keyspace in directories_in(directory)? {
            let path = directory.join(&keyspace);
            let elsewhere = |path: &Path| fs::metadata(path).is_ok_and(|it| it.dev() != device);
            let tables = directories_in(&path)?.into_iter().map(|table| path.join(table));
            let mounted = std::iter::once(path.clone()).chain(tables).find(|path| elsewhere(path));
            if let Some(mounted) = mounted.filter(|_| job.concerns(&keyspace)) {
                found.push(format!(
                    "{} lies on another disk than {}, and a restore would bring it back here; \
                     move it back first, or copy the files by hand",
                    mounted.display(),
                    directory.display(),
                ));
            }
        }
    }
    Ok(found)
}

fn is_fenced_by(job: &Job, jobs: &[JobReport]) -> bool {
    jobs.iter().any(|report| report.job == job.order.job && report.fenced)
}

fn device(path: &Path) -> Result<u64, RestoreError> {
    Ok(fs::metadata(path).map_err(RestoreError::disk("look at", path))?.dev())
}

/// Names of directories, and of links to some, in a directory; hidden ones left out.
fn directories_in(path: &Path) -> Result<Vec<String>, RestoreError> {
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

fn tables_on_disk(directories: &Directories) -> Result<BTreeSet<TableOnDisk>, RestoreError> {
    let mut tables = BTreeSet::new();
    for directory in directories.holding_keyspaces() {
        for name in directories_in(directory)? {
            let Ok(keyspace) = Keyspace::parse(&name) else { continue };
            for table in directories_in(&directory.join(&name))? {
                if let Ok(table) = TableDirectory::parse(&table) {
                    tables.insert(TableOnDisk { keyspace: keyspace.clone(), directory: table });
                }
            }
        }
    }
    Ok(tables)
}

fn set_aside(
    job: &Job,
    in_backup: &BTreeSet<TableOnDisk>,
    on_disk: &BTreeSet<TableOnDisk>,
) -> Result<Folders, RestoreError> {
    let concerned = || on_disk.iter().filter(|table| job.concerns(table.keyspace.as_str()));
    let keyspaces: BTreeSet<_> = concerned().map(|table| table.keyspace.clone()).collect();
    let mut snapshots = BTreeSet::new();
    for table in concerned() {
        for directory in job.site.directories.holding_keyspaces() {
            let path = directory
                .join(table.keyspace.as_str())
                .join(table.directory.as_str())
                .join("snapshots");
            if path.is_dir() {
                snapshots.extend(directories_in(&path)?);
            }
        }
    }
    // Of what Cassandra keeps for itself it makes anew what it lacks.
    let is_lost = |table: &&TableOnDisk| {
        !in_backup.contains(*table) && !Directories::is_local_system(&table.keyspace)
    };
    Ok(Folders {
        keyspaces: keyspaces.into_iter().collect(),
        tables_not_in_backup: concerned().filter(is_lost).cloned().collect(),
        snapshots: snapshots.into_iter().collect(),
    })
}

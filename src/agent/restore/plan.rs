//! What a restore would find on the node and do to it: looked at, nothing changed.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::error::RestoreError;
use super::obstacles::{directories_in, obstacles};
use super::order::{Contents, Job, Order, Site};
use super::places::Directories;
use super::process::Process;
use super::protocol::{Folders, PlanFacts, TableOnDisk};
use super::report;
use super::space;
use super::stage;
use crate::model::{Keyspace, Md5, TableDirectory};

/// Looks at the node. `written_anew` files are stored otherwise than the manifest says, `process` is
/// Cassandra's, if it runs.
pub(super) fn plan(
    order: &Order,
    directories: &Directories,
    manifest: Md5,
    contents: Arc<Contents>,
    written_anew: u64,
    process: Option<&Process>,
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
    let mut obstacles = obstacles(&job, &jobs, process)?;
    let disks = space::disks(&directories.holding_keyspaces(), &assignment.needed_bytes);
    obstacles.extend(space::too_big(&disks).map(|error| error.to_string()));
    let set_aside = set_aside(&job, &tables_in_backup, &tables_on_disk)?;
    let (files_here, bytes_here) =
        assignment.count(&job.contents, |found| found.live || found.staged);
    Ok(PlanFacts {
        manifest,
        disks,
        files: job.contents.files.len() as u64,
        bytes: job.contents.bytes(),
        files_here,
        bytes_here,
        written_anew,
        tables_in_backup: tables_in_backup.into_iter().collect(),
        tables_on_disk: tables_on_disk.into_iter().collect(),
        set_aside,
        running: process.is_some(),
        obstacles,
        jobs,
    })
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

//! The fence: while a node's data is half swapped, nothing can start Cassandra on it.
//!
//! Half a restore starts, says "up and normal", and serves empty tables; so no start may happen by
//! whomever: an init system after a power cut, a configuration tool, a person. Two things see to
//! that. A file with a name that Cassandra takes for a table it cannot read, at which it ends
//! (`StartupChecks.checkSSTablesFormat`), also where it runs as root: put up before the stop, taken
//! away last. And the data directories, which while Cassandra is stopped belong to root alone. The
//! service manager is told too, where there is one; see [`super::daemon`].

use std::path::{Path, PathBuf};

use super::disk::{Disk, Owner, beside};
use super::error::RestoreError;
use super::order::Job;
use crate::model::JobId;

/// The file in the first data directory. Cassandra names it when it refuses to start.
pub(super) const FENCE: &str = "medusafs-restore-is-unfinished-see-this-file-Data.db";

/// Where the fence of a node with this first data directory stands, if it stands.
pub(in crate::agent) fn path(first: &Path) -> PathBuf {
    first.join(FENCE)
}

/// What a person reads who follows Cassandra's message to the file.
fn notice(job: &Job) -> Result<String, RestoreError> {
    let (id, folder) = (&job.order.job, job.first()?);
    let owners = job.site.owners.iter().map(|(path, owner)| {
        let path = path.display();
        let Owner { uid, gid, mode } = owner;
        format!("  chown {uid}:{gid} {path}; chmod {mode:o} {path}\n")
    });
    Ok(format!(
        "This node's data is being replaced by backup {} (medusafs job {id}).\n\
         Until that is finished or taken back, Cassandra must not start: it would serve empty tables.\n\n\
         To finish:     medusafs resume {id}\n\
         To take back:  medusafs undo {id}\n\n\
         What was done stands in {}; what the node had in aside/ beside it.\n\
         What the data directories were like:\n{}",
        job.order.backup,
        folder.journal().display(),
        owners.collect::<String>(),
    ))
}

/// Puts the fence up: from now on Cassandra refuses to start. One that runs is not touched.
pub(super) fn put_up(job: &Job, disk: &dyn Disk) -> Result<(), RestoreError> {
    let path = path(job.site.directories.first()?);
    disk.write(&path, notice(job)?.as_bytes()).map_err(RestoreError::disk("write", &path))
}

/// Closes the data directories to all but root.
pub(super) fn close(job: &Job, disk: &dyn Disk) -> Result<(), RestoreError> {
    for (path, _) in &job.site.owners {
        disk.give(path, Owner::ROOT_ALONE).map_err(RestoreError::disk("close", path))?;
        disk.sync_dir(path).map_err(RestoreError::disk("sync", path))?;
    }
    Ok(())
}

/// Gives the data directories back, and then takes the fence away.
pub(super) fn open(job: &Job, disk: &dyn Disk) -> Result<(), RestoreError> {
    for (path, owner) in &job.site.owners {
        disk.give(path, *owner).map_err(RestoreError::disk("give back", path))?;
        disk.sync_dir(path).map_err(RestoreError::disk("sync", path))?;
    }
    let first = job.site.directories.first()?;
    let path = path(first);
    // Also one that was never finished: Cassandra would pass it, but nobody else would remove it.
    for path in [beside(&path).map_err(RestoreError::disk("remove", &path))?, path] {
        disk.remove_file(&path).map_err(RestoreError::disk("remove", &path))?;
    }
    disk.sync_dir(first).map_err(RestoreError::disk("sync", first))
}

/// The command that settles a job whose fence was left.
pub(super) fn remedy(job: &JobId) -> String {
    format!("run \"medusafs resume {job}\" to finish it or \"medusafs undo {job}\" to take it back")
}

//! What is left on the node after a restore, for how long, and its removal.

use std::fs;
use std::path::{Path, PathBuf};

use super::disk::Disk;
use super::error::RestoreError;
use super::node_journal::Story;
use super::order::Job;
use super::places::{Directories, Folder};
use crate::model::{JobId, UnixSeconds};

/// What was set aside goes when its disk is fuller than this, in percent.
const FULL_PERCENT: u64 = 85;

fn all_folders(job: &JobId, directories: &Directories) -> Vec<Folder> {
    let keyspaces = directories.holding_keyspaces().into_iter();
    let emptied = directories.emptied.iter().map(PathBuf::as_path);
    keyspaces.chain(emptied).map(|directory| Folder::of(job, directory)).collect()
}

/// Removes what is not needed any more after a restore, and writes down until when the rest is
/// kept: what was set aside, so that the restore can be undone, or what had come since when it was
/// undone.
pub(super) fn clean(job: &Job, now: UnixSeconds, disk: &dyn Disk) -> Result<(), RestoreError> {
    for folder in job.keyspace_folders() {
        for path in [folder.stage(), folder.part()] {
            disk.remove_tree(&path).map_err(RestoreError::disk("remove", &path))?;
        }
    }
    let keep = i64::try_from(job.order.undo_keep_seconds).unwrap_or(i64::MAX);
    let until = now.0.saturating_add(keep);
    let path = job.first()?.kept_until();
    let text = format!("{until}\n");
    disk.write(&path, text.as_bytes()).map_err(RestoreError::disk("write", &path))
}

/// Until when a job's things are kept, if it has ended.
pub(super) fn kept_until(folder: &Folder) -> Option<UnixSeconds> {
    let text = fs::read_to_string(folder.kept_until()).ok()?;
    text.trim().parse().ok().map(UnixSeconds)
}

/// Removes everything of a job.
///
/// First its folder with order and journal gets a name that says so: from then on there is nothing
/// to resume or to undo, of which parts may be gone already.
pub(super) fn forget(
    job: &JobId,
    directories: &Directories,
    disk: &dyn Disk,
) -> Result<(), RestoreError> {
    let first = Folder::of(job, directories.first()?);
    let (path, gone) = (first.path(), first.gone());
    if path.exists() {
        if gone.exists() {
            disk.remove_tree(&gone).map_err(RestoreError::disk("remove", &gone))?;
        }
        disk.rename(&path, &gone).map_err(RestoreError::disk("rename", &path))?;
        let all = Folder::all_in(directories.first()?);
        disk.sync_dir(&all).map_err(RestoreError::disk("sync", &all))?;
    }
    remove(job, directories, disk)
}

/// Removes the folders of a job of which nothing counts any more, that with the name last.
fn remove(job: &JobId, directories: &Directories, disk: &dyn Disk) -> Result<(), RestoreError> {
    for folder in all_folders(job, directories).iter().rev() {
        folder.remove(disk)?;
    }
    Ok(())
}

/// The jobs that left a folder on this node, by id, which is by time.
pub(super) fn jobs(first: &Path) -> Vec<JobId> {
    let Ok(entries) = fs::read_dir(Folder::all_in(first)) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut jobs: Vec<_> = names.filter_map(|name| JobId::parse(&name).ok()).collect();
    jobs.sort();
    jobs
}

fn is_full(directory: &Path) -> bool {
    rustix::fs::statvfs(directory).is_ok_and(|disk| {
        let used = disk.f_blocks.saturating_sub(disk.f_bfree);
        // As df has it: of what others than root may use.
        let usable = used.saturating_add(disk.f_bavail);
        used.saturating_mul(100) > usable.saturating_mul(FULL_PERCENT)
    })
}

/// Removes what ended restores left whose time is over, or whose disk is nearly full, the oldest
/// first, and the rest of what was being removed. Says which. `but` is at work, or asked about.
///
/// The caller holds the node's lock.
pub(super) fn sweep(
    directories: &Directories,
    but: &JobId,
    now: UnixSeconds,
    disk: &dyn Disk,
) -> Result<Vec<JobId>, RestoreError> {
    let first = directories.first()?;
    let mut swept = Vec::new();
    for job in Folder::all_gone_in(first) {
        remove(&job, directories, disk)?;
        swept.push(job);
    }
    for job in jobs(first).into_iter().filter(|job| job != but) {
        let folder = Folder::of(&job, first);
        let Ok(Some(story)) = Story::read(&folder.journal()) else { continue };
        let is_over = kept_until(&folder).is_some_and(|until| until <= now);
        let is_full = || directories.holding_keyspaces().into_iter().any(is_full);
        if story.ending.is_some() && (is_over || is_full()) {
            forget(&job, directories, disk)?;
            swept.push(job);
        }
    }
    Ok(swept)
}

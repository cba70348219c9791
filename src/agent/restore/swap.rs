//! Old data out, new data in, and back: renames only, in an order that a power cut cannot make
//! worse.
//!
//! `system` is first out and last in: a Cassandra that starts without it while its peers are up
//! ends with a clear error instead of serving what is half there. Every function may run again
//! after it was cut off anywhere; whatever stands where something is to go is kept, never replaced,
//! whatever the journal says.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::disk::{Disk, Owner};
use super::error::RestoreError;
use super::node_journal::Originals;
use super::order::Job;
use super::places::{Folder, HIDDEN};

const SYSTEM: &str = "system";

/// The names in a directory; none if it does not exist. A name that is no UTF-8 is not Cassandra's
/// and is left alone.
fn names(directory: &Path) -> Result<BTreeSet<String>, RestoreError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        Err(error) => return Err(RestoreError::disk("list", directory)(error)),
    };
    let mut names = BTreeSet::new();
    for entry in entries {
        let entry = entry.map_err(RestoreError::disk("list", directory))?;
        names.extend(entry.file_name().into_string());
    }
    Ok(names)
}

fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// What the restore is going to set aside.
pub(super) fn originals(job: &Job) -> Result<Vec<Originals>, RestoreError> {
    let mut all = Vec::new();
    for folder in job.keyspace_folders() {
        let mut names = names(folder.directory())?;
        names.retain(|name| job.concerns(name) && folder.directory().join(name).is_dir());
        all.push(Originals { directory: folder.directory().to_owned(), names });
    }
    for folder in job.emptied_folders() {
        let mut names = names(folder.directory())?;
        names.remove(HIDDEN);
        all.push(Originals { directory: folder.directory().to_owned(), names });
    }
    Ok(all)
}

struct Mover<'a> {
    disk: &'a dyn Disk,
}

impl Mover<'_> {
    /// Makes a directory whose name lasts before anything is renamed into it.
    fn make(&self, path: &Path) -> Result<(), RestoreError> {
        if !path.is_dir() {
            self.disk
                .make_dir(path, Owner::ROOT_ALONE)
                .map_err(RestoreError::disk("make", path))?;
        }
        // Also where it stands: who made it may have died before this.
        path.parent().map_or(Ok(()), |parent| self.sync(parent))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<(), RestoreError> {
        self.disk.rename(from, to).map_err(RestoreError::disk("rename", from))
    }

    fn sync(&self, path: &Path) -> Result<(), RestoreError> {
        self.disk.sync_dir(path).map_err(RestoreError::disk("sync", path))
    }

    /// Puts what stands at `name` into a numbered folder where nothing stands.
    fn out_of_the_way(&self, folder: &Folder, name: &str) -> Result<(), RestoreError> {
        let home = folder.in_the_way();
        self.make(&home)?;
        let free = (0_u32..).map(|number| home.join(number.to_string()));
        let mut free = free.skip_while(|place| exists(&place.join(name)));
        let place = free.next().ok_or_else(|| RestoreError::Bug("no number is free".to_owned()))?;
        self.make(&place)?;
        self.rename(&folder.directory().join(name), &place.join(name))?;
        self.sync(&place)
    }
}

fn system_first(folders: &[(Folder, BTreeSet<String>)]) -> [Vec<(&Folder, &str)>; 2] {
    let all = || {
        folders
            .iter()
            .flat_map(|(folder, names)| names.iter().map(move |name| (folder, name.as_str())))
    };
    [
        all().filter(|(_, name)| *name == SYSTEM).collect(),
        all().filter(|(_, name)| *name != SYSTEM).collect(),
    ]
}

/// Sets aside what stood in the directories before.
pub(super) fn set_aside(
    job: &Job,
    originals: &[Originals],
    disk: &dyn Disk,
) -> Result<(), RestoreError> {
    let mover = Mover { disk };
    let mut folders = Vec::new();
    for old in originals {
        let folder = job.folder(&old.directory);
        folder.make(disk)?;
        mover.make(&folder.aside())?;
        // What appeared since the list was made is not the node's: a start that was cut off left
        // it.
        let mut found = names(&old.directory)?;
        if job.site.directories.emptied.contains(&old.directory) {
            found.remove(HIDDEN);
        } else {
            found.retain(|name| job.concerns(name) && old.directory.join(name).is_dir());
        }
        found.extend(old.names.iter().cloned());
        folders.push((folder, found));
    }
    for turn in system_first(&folders) {
        for (folder, name) in turn {
            let (here, aside) = (folder.directory().join(name), folder.aside().join(name));
            let was_here = originals
                .iter()
                .any(|old| old.directory == folder.directory() && old.names.contains(name));
            match (exists(&here), exists(&aside)) {
                (true, false) if was_here => mover.rename(&here, &aside)?,
                (true, _) => mover.out_of_the_way(folder, name)?,
                (false, true) => {}
                (false, false) if !was_here => {}
                (false, false) => return Err(lost(&here)),
            }
        }
        for (folder, _) in &folders {
            mover.sync(&folder.aside())?;
            mover.sync(folder.directory())?;
        }
    }
    Ok(())
}

fn lost(path: &Path) -> RestoreError {
    RestoreError::Unexpected {
        what: "what a restore had found or staged is neither where it was nor where it should be",
        path: path.to_owned(),
        remedy: "somebody moved it; put it back and resume".to_owned(),
    }
}

/// Places what was staged.
pub(super) fn place(job: &Job, disk: &dyn Disk) -> Result<(), RestoreError> {
    let mover = Mover { disk };
    let mut folders = Vec::new();
    for folder in job.keyspace_folders() {
        let staged = names(&folder.stage())?;
        folders.push((folder, staged));
    }
    let [system, others] = system_first(&folders);
    for turn in [others, system] {
        for (folder, name) in turn {
            let (staged, here) = (folder.stage().join(name), folder.directory().join(name));
            if exists(&here) {
                mover.out_of_the_way(folder, name)?;
            }
            mover.rename(&staged, &here)?;
        }
        for (folder, _) in &folders {
            mover.sync(folder.directory())?;
        }
    }
    let placed_somewhere =
        |name: &str| folders.iter().any(|(folder, _)| exists(&folder.directory().join(name)));
    match job.contents.keyspaces().iter().find(|keyspace| !placed_somewhere(keyspace.as_str())) {
        Some(keyspace) => Err(lost(&job.first()?.stage().join(keyspace.as_str()))),
        None => Ok(()),
    }
}

/// Takes out what is there now and puts back what was set aside.
pub(super) fn give_back(
    job: &Job,
    originals: &[Originals],
    disk: &dyn Disk,
) -> Result<(), RestoreError> {
    let mover = Mover { disk };
    let mut folders = Vec::new();
    for old in originals {
        let folder = job.folder(&old.directory);
        folder.make(disk)?;
        mover.make(&folder.undone())?;
        let mut found = names(&old.directory)?;
        if job.site.directories.emptied.contains(&old.directory) {
            found.remove(HIDDEN);
        } else {
            found.retain(|name| job.concerns(name) && old.directory.join(name).is_dir());
        }
        let aside = names(&folder.aside())?;
        // A name that was here before and is not aside has never left, or is back already.
        found.retain(|name| aside.contains(name) || !old.names.contains(name));
        folders.push((folder, found, aside));
    }
    let out: Vec<_> =
        folders.iter().map(|(folder, out, _)| (folder.clone(), out.clone())).collect();
    for turn in system_first(&out) {
        for (folder, name) in turn {
            let undone = folder.undone().join(name);
            if exists(&undone) {
                mover.out_of_the_way(folder, name)?;
            } else {
                mover.rename(&folder.directory().join(name), &undone)?;
            }
        }
        sync_all(&mover, out.iter().map(|(folder, _)| folder.undone()))?;
        sync_all(&mover, out.iter().map(|(folder, _)| folder.directory().to_owned()))?;
    }
    let back: Vec<_> = folders.into_iter().map(|(folder, _, aside)| (folder, aside)).collect();
    let [system, others] = system_first(&back);
    for turn in [others, system] {
        for (folder, name) in turn {
            mover.rename(&folder.aside().join(name), &folder.directory().join(name))?;
        }
        sync_all(&mover, back.iter().map(|(folder, _)| folder.directory().to_owned()))?;
    }
    Ok(())
}

fn sync_all(mover: &Mover<'_>, paths: impl Iterator<Item = PathBuf>) -> Result<(), RestoreError> {
    for path in paths {
        mover.sync(&path)?;
    }
    Ok(())
}

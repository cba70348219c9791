//! Whether what lies in the stage is what the backup holds.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::disk::Owner;
use super::error::RestoreError;
use super::order::{BackupFile, Job};

/// Says whether all files are staged, whole, once each, of the right owner, and no others: asked
/// again before Cassandra is stopped, for wrong owners are not noticed when it starts, only days
/// later.
pub(super) fn check(job: &Job) -> Result<(), RestoreError> {
    let wrong = |what, path: &Path| {
        Err(RestoreError::Unexpected {
            what,
            path: path.to_owned(),
            remedy: "stage again".to_owned(),
        })
    };
    let mut stages = Vec::new();
    for folder in job.keyspace_folders() {
        stages.push((folder.stage(), job.site.owner(folder.directory())?));
    }
    for file in &job.contents.files {
        let path = file.path();
        let mut found = stages.iter().filter_map(|(stage, owner)| {
            let path = stage.join(&path);
            Some((fs::symlink_metadata(&path).ok()?, owner, path))
        });
        match (found.next(), found.next()) {
            (Some((it, owner, path)), None) => {
                let linked = it.nlink() > 1;
                let his = it.uid() == owner.uid && it.gid() == owner.gid;
                if !it.is_file() || !file.may_have(it.len()) {
                    return wrong("a staged file of another size", &path);
                } else if !linked && !his {
                    return wrong("a staged file of another owner", &path);
                }
            }
            (Some(_), Some((_, _, path))) => return wrong("a file that is staged twice", &path),
            (None, _) => return wrong("no staged file", &path),
        }
    }
    for (keyspace, table) in &job.contents.tables {
        let path: PathBuf = [keyspace.as_str(), table.as_str()].iter().collect();
        let there = stages.iter().find_map(|(stage, owner)| {
            Some((Owner::of(&stage.join(&path)).ok()?, owner, stage.join(&path)))
        });
        match there {
            Some((found, owner, path)) if found != *owner => {
                return wrong("a staged directory of another owner", &path);
            }
            Some(_) => {}
            None => return wrong("no staged directory", &path),
        }
    }
    let known = known(job);
    stages.iter().try_for_each(|(stage, _)| nothing_else(stage, Path::new(""), &known))
}

/// All paths that may stand in a stage.
fn known(job: &Job) -> BTreeSet<PathBuf> {
    let mut known = BTreeSet::new();
    let tables = job.contents.tables.iter();
    let tables = tables.map(|(keyspace, table)| -> PathBuf {
        [keyspace.as_str(), table.as_str()].iter().collect()
    });
    for path in tables.chain(job.contents.files.iter().map(BackupFile::path)) {
        let new = path.ancestors().take_while(|above| !known.contains(*above));
        let new: Vec<_> = new.map(Path::to_owned).collect();
        known.extend(new);
    }
    known
}

/// Whole keyspaces are placed, with whatever lies in them.
fn nothing_else(stage: &Path, below: &Path, known: &BTreeSet<PathBuf>) -> Result<(), RestoreError> {
    let directory = stage.join(below);
    let entries = fs::read_dir(&directory).map_err(RestoreError::disk("list", &directory))?;
    for entry in entries {
        let entry = entry.map_err(RestoreError::disk("list", &directory))?;
        let path = below.join(entry.file_name());
        if !known.contains(&path) {
            return Err(RestoreError::Unexpected {
                what: "what the backup does not hold is staged",
                path: entry.path(),
                remedy: "take this restore back and begin it again".to_owned(),
            });
        }
        let kind = entry.file_type().map_err(RestoreError::disk("look at", &directory))?;
        if kind.is_dir() {
            nothing_else(stage, &path, known)?;
        }
    }
    Ok(())
}

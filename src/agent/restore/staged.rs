//! Whether what lies in the stage is what the backup holds.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::disk::Owner;
use super::error::RestoreError;
use super::order::Job;

/// Says whether all files are staged, whole, once each, and of the right owner: asked again before
/// Cassandra is stopped, for wrong owners are not noticed when it starts, only days later.
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
    Ok(())
}

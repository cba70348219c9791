//! Whether what is to be staged fits on the node's disks, with what Cassandra needs beside it.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::error::RestoreError;
use super::protocol::DiskSpace;
use crate::model::ByteSize;

/// What is left free at least: a twentieth of the disk, and a gibibyte where that is no more than a
/// tenth.
fn margin(total: u64) -> u64 {
    (total / 20).max((1 << 30).min(total / 10))
}

/// The file system below a directory: equal numbers share their space.
pub(super) fn device(directory: &Path) -> u64 {
    std::fs::metadata(directory).map_or(0, |found| found.dev())
}

/// Free and all bytes of the file system below `directory`, for others than root; none if it cannot
/// be told.
fn free_and_total(directory: &Path) -> (u64, u64) {
    rustix::fs::statvfs(directory).map_or((0, 0), |found| {
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        (bytes(found.f_bavail), bytes(found.f_blocks))
    })
}

/// Bytes that may still be staged below `directory`.
pub(super) fn room(directory: &Path) -> u64 {
    let (free, total) = free_and_total(directory);
    free.saturating_sub(margin(total))
}

/// Each file system below `directories`, and what of `needed`, by directory, it has to take.
pub(super) fn disks(directories: &[&Path], needed: &BTreeMap<PathBuf, u64>) -> Vec<DiskSpace> {
    let mut disks: BTreeMap<u64, DiskSpace> = BTreeMap::new();
    for directory in directories {
        let disk = disks.entry(device(directory)).or_insert_with(|| {
            let (free_bytes, total_bytes) = free_and_total(directory);
            let margin_bytes = margin(total_bytes);
            let directories = Vec::new();
            DiskSpace { directories, total_bytes, free_bytes, needed_bytes: 0, margin_bytes }
        });
        disk.directories.push((*directory).to_owned());
        let needed = needed.get(*directory).copied().unwrap_or_default();
        disk.needed_bytes = disk.needed_bytes.saturating_add(needed);
    }
    disks.into_values().collect()
}

/// Why it does not fit, if it does not.
pub(super) fn too_big(disks: &[DiskSpace]) -> Option<RestoreError> {
    let full = disks.iter().find(|disk| {
        let wanted = disk.needed_bytes.saturating_add(disk.margin_bytes);
        disk.needed_bytes > 0 && disk.free_bytes < wanted
    })?;
    let shown: Vec<_> = full.directories.iter().map(|path| path.display().to_string()).collect();
    Some(RestoreError::refused(
        format!(
            "the disk of {} has {} free, {} are to come, and {} must stay free for Cassandra",
            shown.join(" and "),
            ByteSize(full.free_bytes),
            ByteSize(full.needed_bytes),
            ByteSize(full.margin_bytes)
        ),
        "free some space there (old snapshots: \"nodetool listsnapshots\")",
    ))
}

/// Fails when Cassandra, or somebody else, has taken what was free when the stage began.
pub(super) fn still_has_room(directory: &Path) -> Result<(), RestoreError> {
    let (free, total) = free_and_total(directory);
    if free >= margin(total) / 2 {
        return Ok(());
    }
    let left = format!("{} are left there, and Cassandra needs them", ByteSize(free));
    let source = io::Error::new(io::ErrorKind::StorageFull, left);
    Err(RestoreError::disk("stage more in", directory)(source))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn disk(free_bytes: u64, needed_bytes: u64) -> DiskSpace {
        let total_bytes = 100 * GIB;
        let directories = vec!["/a".into(), "/b".into()];
        let margin_bytes = margin(total_bytes);
        DiskSpace { directories, total_bytes, free_bytes, needed_bytes, margin_bytes }
    }

    #[test]
    fn a_big_disk_keeps_a_twentieth_free_and_a_small_one_a_tenth_at_most() {
        assert_eq!(margin(100 * GIB), 5 * GIB);
        assert_eq!(margin(12 * GIB), GIB);
        assert_eq!(margin(4 * GIB), 4 * GIB / 10);
    }

    #[test]
    fn what_would_leave_cassandra_without_room_does_not_fit() {
        assert!(too_big(&[disk(20 * GIB, 15 * GIB)]).is_none());
        let error = too_big(&[disk(20 * GIB, 15 * GIB + 1)]).unwrap().to_string();
        assert!(error.contains("/a and /b") && error.contains("must stay free"), "{error}");
        assert!(too_big(&[disk(0, 0)]).is_none(), "nothing is to come");
    }

    #[test]
    fn directories_of_one_disk_share_its_space() {
        let home = tempfile::tempdir().unwrap();
        let (one, two) = (home.path().join("one"), home.path().join("two"));
        std::fs::create_dir(&one).unwrap();
        std::fs::create_dir(&two).unwrap();
        let needed = BTreeMap::from([(one.clone(), 3), (two.clone(), 4)]);
        let found = disks(&[&one, &two], &needed);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].needed_bytes, &found[0].directories), (7, &vec![one, two]));
        assert!(found[0].free_bytes > 0 && found[0].total_bytes >= found[0].free_bytes);
    }
}

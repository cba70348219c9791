//! What is mounted where, by `/proc/self/mountinfo`.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::path::{Path, PathBuf};

/// File systems that several hosts can have mounted at once.
const SHARED: [&str; 16] = [
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "ceph",
    "glusterfs",
    "lustre",
    "beegfs",
    "gpfs",
    "gfs2",
    "ocfs2",
    "afs",
    "pvfs2",
    "orangefs",
    "9p",
];

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) on: PathBuf,
    pub(super) file_system: String,
    pub(super) source: String,
    /// The super block's options: for NFS, how it deals with a server that does not answer.
    pub(super) options: String,
}

impl Mount {
    /// The mount that `path`, absolute and without links, lies in.
    pub(super) fn of(mountinfo: &str, path: &Path) -> Option<Self> {
        // Of mounts on top of each other the last one is seen.
        Self::all(mountinfo)
            .filter(|mount| path.starts_with(&mount.on))
            .max_by_key(|mount| mount.on.as_os_str().len())
    }

    /// Every mount of this process's.
    pub(super) fn all(mountinfo: &str) -> impl Iterator<Item = Self> {
        mountinfo.lines().filter_map(Self::parse)
    }

    /// See proc_pid_mountinfo(5): `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw`.
    fn parse(line: &str) -> Option<Self> {
        let (own, of_file_system) = line.split_once(" - ")?;
        let on = own.split(' ').nth(4)?;
        let mut words = of_file_system.split(' ');
        Some(Self {
            on: PathBuf::from(unescaped(on)),
            file_system: words.next()?.to_owned(),
            source: unescaped(words.next()?),
            options: words.next().unwrap_or_default().to_owned(),
        })
    }

    /// Whether several hosts can have it. FUSE says what it is after a dot.
    pub(super) fn is_network(&self) -> bool {
        let kind = self.file_system.as_str();
        SHARED.contains(&kind.strip_prefix("fuse.").unwrap_or(kind))
    }

    /// Whether a write may be given up while the server does not answer.
    pub(super) fn is_soft(&self) -> bool {
        self.options.split(',').any(|option| matches!(option, "soft" | "softerr"))
    }
}

/// Blank, tab, newline and backslash stand as three octal digits.
fn unescaped(text: &str) -> String {
    let mut plain = text.to_owned();
    for (escape, character) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        plain = plain.replace(escape, character);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:40 / /mnt/back\\040up rw,relatime shared:2 - nfs4 nas:/export rw,vers=4.2,soft,timeo=600
31 22 254:0 /srv/share /mnt/local rw - ext4 /dev/vda rw
32 30 0:41 / /mnt/back\\040up/inner rw - fuse.glusterfs vol rw
";

    #[test]
    fn a_path_lies_in_the_longest_mount_above_it() {
        let of = |path: &str| Mount::of(INFO, Path::new(path)).unwrap();
        let nfs = of("/mnt/back up/bucket");
        assert_eq!((nfs.file_system.as_str(), nfs.source.as_str()), ("nfs4", "nas:/export"));
        assert!(nfs.is_network() && nfs.is_soft());
        assert!(of("/mnt/back up/inner/x").is_network());
        let bound = of("/mnt/local/x");
        assert_eq!(bound.on, Path::new("/mnt/local"));
        assert!(!bound.is_network());
        assert_eq!(of("/mnt/back upper").on, Path::new("/"));
    }
}

//! What is mounted where, as `/proc/self/mountinfo` has it.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::path::PathBuf;

/// The type under which the kernel lists our mounts.
pub(super) const OUR_TYPE: &str = "fuse.medusafs";

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mounted {
    /// Where its root is seen.
    pub path: PathBuf,
    /// Its device, as `MAJOR:MINOR`: nobody else's while it is mounted.
    pub device: String,
    /// Its type.
    pub kind: String,
    /// What it was mounted from.
    pub source: String,
}

/// Whether anything is mounted at `path`, which must be without links.
pub fn is_mountpoint(path: &Path) -> io::Result<bool> {
    mounted_at(path).map(|there| there.is_some())
}

/// What is on top at `path`, which must be without links.
pub(super) fn mounted_at(path: &Path) -> io::Result<Option<Mounted>> {
    let table = std::fs::read("/proc/self/mountinfo")?;
    Ok(parse(&table).into_iter().rev().find(|mounted| mounted.path == path))
}

/// Lines of the form `36 35 98:0 /root /mnt rw,noatime master:1 - ext3 /dev/root rw`.
fn parse(table: &[u8]) -> Vec<Mounted> {
    let line = |line: &[u8]| {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let dash = fields.iter().position(|field| *field == b"-")?;
        let text = |index: usize| Some(unescape(fields.get(index)?));
        let lossy = |index: usize| Some(String::from_utf8_lossy(&text(index)?).into_owned());
        Some(Mounted {
            path: PathBuf::from(OsString::from_vec(text(4)?)),
            device: lossy(2)?,
            kind: lossy(dash + 1)?,
            source: lossy(dash + 2)?,
        })
    };
    table.split(|byte| *byte == b'\n').filter_map(line).collect()
}

/// Undoes `\040` and its like.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let octal = after
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        if let Some(byte) = octal {
            bytes.push(byte);
            rest = after.get(3..).unwrap_or_default();
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_two_mounts_on_one_path_is_the_one_that_is_seen() {
        let table = b"29 1 8:1 / / rw - ext4 /dev/root rw\n\
            40 29 0:50 / /mnt/a\\040b rw,nosuid shared:7 - fuse.medusafs /nfs/store\\054x rw\n\
            41 29 0:51 / /mnt/a\\040b rw - tmpfs none rw\n";
        let found = parse(table);
        assert_eq!(found[1].path, Path::new("/mnt/a b"));
        assert_eq!((found[1].kind.as_str(), found[1].source.as_str()), (OUR_TYPE, "/nfs/store,x"));
        assert_eq!((found[2].device.as_str(), found[2].kind.as_str()), ("0:51", "tmpfs"));
    }

    #[test]
    fn a_line_that_is_cut_off_is_no_mount() {
        assert_eq!(parse(b"40 29 0:50 / /mnt rw"), []);
    }
}

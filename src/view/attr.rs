//! What `stat` shows: kinds, sizes, times, and who may look.

use crate::model::UnixSeconds;

use super::Access;
use super::Ino;
use super::Owner;
use super::ViewPath;

/// What something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A file.
    File,
    /// A symbolic link.
    Link,
}

/// The attributes of something in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attr {
    /// Its inode.
    pub ino: Ino,
    /// What it is.
    pub kind: Kind,
    /// Bytes.
    pub size: u64,
    /// When it was last changed; also shown as its other times.
    pub modified: UnixSeconds,
    /// Permission bits.
    pub mode: u16,
    /// The owning user.
    pub uid: u32,
    /// The owning group.
    pub gid: u32,
    /// Names that it has; of a directory 1, which means "not counted".
    pub links: u32,
}

impl Attr {
    /// The size in blocks of 512 bytes. With fewer, `cp` takes a file for a sparse one and copies
    /// its bytes, where it would have named them.
    pub fn blocks(&self) -> u64 {
        self.size.div_ceil(512)
    }
}

/// Who may do what, as group numbers. Root may all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rights {
    /// The user to whom all belongs: root, or the ordinary user who mounted for himself.
    pub uid: u32,
    /// The group to which belongs what no other group may see.
    pub gid: u32,
    /// May look at backups.
    pub read_group: Option<u32>,
    /// May make backups.
    pub backup_group: Option<u32>,
    /// May restore and import.
    pub restore_group: Option<u32>,
    /// May delete, where deleting is allowed.
    pub delete_group: Option<u32>,
}

/// What a stored file counts as its names: more than one, since each backup and each view has
/// one; not exact, since counting would read every manifest.
pub const LINKS_OF_STORED: u32 = 2;

impl Rights {
    /// Permission bits and group of a place.
    ///
    /// A directory has one group, but reading, backing up and deleting may be three: where they
    /// differ the bits for all users are wider, and `mkdir`, `rmdir` and writes are judged once
    /// more by this program, which each of them reaches.
    pub fn of(&self, path: &ViewPath) -> (u16, u32) {
        let reader = self.read_group.unwrap_or(self.gid);
        match path {
            // They lead to /README and /status, which everybody may read, and hold nothing else.
            ViewPath::Root | ViewPath::Control(Owner::Root) | ViewPath::Jobs | ViewPath::Job(_) => {
                (0o755, reader)
            }
            ViewPath::Readme | ViewPath::Status | ViewPath::JobFile(..) => (0o444, reader),
            ViewPath::Backups => self.writable(&[self.backup_group, self.delete_group]),
            ViewPath::Trash => self.writable(&[self.delete_group]),
            ViewPath::ByMode(_) | ViewPath::Node(_) | ViewPath::NodeByMode(..) => {
                self.writable(&[self.backup_group])
            }
            ViewPath::Backup(_) if self.backup_group.is_some() => {
                self.writable(&[self.backup_group])
            }
            ViewPath::Area(_) | ViewPath::AreaNode(..) => self.writable(&[self.restore_group]),
            ViewPath::Control(owner) => {
                let (shared, group) = self.lookers(owner);
                (if shared { 0o755 } else { 0o750 }, group)
            }
            ViewPath::ControlFile(owner, file) => {
                let (shared, group) = self.lookers(owner);
                match file.access() {
                    Access::Everybody => (0o444, group),
                    Access::Readers => (if shared { 0o444 } else { 0o440 }, group),
                    // The directory lets in only who may look; the verb's right is judged at open.
                    Access::Verb => (0o222, group),
                }
            }
            ViewPath::Latest | ViewPath::ByModeLink(..) | ViewPath::NodeByModeLink(..) => {
                (0o777, reader)
            }
            ViewPath::Meta(..) => (0o440, reader),
            ViewPath::Nodes
            | ViewPath::Backup(_)
            | ViewPath::NodeBackup(..)
            | ViewPath::Keyspace(..)
            | ViewPath::Files(_)
            | ViewPath::Keyspaces
            | ViewPath::Tables(_)
            | ViewPath::TableBackups(..)
            | ViewPath::TableNodes(..)
            | ViewPath::TableChoice(..)
            // Staged things have attributes of their own.
            | ViewPath::Staged(_) => (0o750, reader),
        }
    }

    /// Permission bits and group of a stored table's file.
    pub fn of_stored(&self) -> (u16, u32) {
        (0o440, self.read_group.unwrap_or(self.gid))
    }

    /// Who looks into a `.medusa/`: readers, and those who may begin what it tells of. The group,
    /// and whether there are two of them, so that only bits for all can let both in.
    fn lookers(&self, owner: &Owner) -> (bool, u32) {
        let doers = match owner {
            Owner::Root => None,
            Owner::Backup(_) | Owner::NodeBackup(_) | Owner::Node(_) => self.backup_group,
            Owner::Area(_) | Owner::AreaNode(..) | Owner::Staged(_) => self.restore_group,
        };
        match (self.read_group, doers) {
            (Some(reader), Some(doer)) => (reader != doer, reader),
            (one, other) => (false, one.or(other).unwrap_or(self.gid)),
        }
    }

    fn writable(&self, writers: &[Option<u32>]) -> (u16, u32) {
        let mut writers: Vec<u32> = writers.iter().copied().flatten().collect();
        writers.sort_unstable();
        writers.dedup();
        let readers_differ = |writer: u32| self.read_group.is_some_and(|reader| reader != writer);
        match writers.as_slice() {
            [] => (0o750, self.read_group.unwrap_or(self.gid)),
            [writer] if readers_differ(*writer) => (0o775, *writer),
            [writer] => (0o770, *writer),
            [writer, ..] => (0o777, *writer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    fn attr(size: u64) -> Attr {
        Attr {
            ino: Ino(9),
            kind: Kind::File,
            size,
            modified: UnixSeconds(0),
            mode: 0o440,
            uid: 0,
            gid: 0,
            links: 2,
        }
    }

    #[test_case(0, 0; "empty")]
    #[test_case(1, 1; "one byte")]
    #[test_case(512, 1; "one block")]
    #[test_case(513, 2; "a byte more")]
    fn a_file_never_looks_sparse(size: u64, blocks: u64) {
        assert_eq!(attr(size).blocks(), blocks);
    }

    #[test]
    fn without_groups_all_is_root_s() {
        let rights = Rights::default();
        assert_eq!(rights.of(&ViewPath::Backups), (0o750, 0));
        assert_eq!(rights.of(&ViewPath::Area(crate::view::Area::Restore)), (0o750, 0));
        assert_eq!(rights.of(&ViewPath::Root), (0o755, 0));
        assert_eq!(rights.of_stored(), (0o440, 0));
    }

    #[test]
    fn a_group_that_reads_and_backs_up_needs_no_bits_for_others() {
        let rights = Rights { read_group: Some(5), backup_group: Some(5), ..Rights::default() };
        assert_eq!(rights.of(&ViewPath::Backups), (0o770, 5));
    }

    #[test]
    fn groups_that_differ_are_told_apart_by_us() {
        let mut rights = Rights { read_group: Some(5), backup_group: Some(6), ..Rights::default() };
        assert_eq!(rights.of(&ViewPath::Backups), (0o775, 6));
        rights.delete_group = Some(7);
        assert_eq!(rights.of(&ViewPath::Backups), (0o777, 6));
    }
}

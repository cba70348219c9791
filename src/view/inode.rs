//! Inode numbers: which thing of the tree has which, and what the kernel still knows.

use std::collections::HashMap;
use std::fmt;
use std::time::SystemTime;

use md5::Digest;
use md5::Md5;
use parking_lot::Mutex;

use crate::medusa::MetaFile;
use crate::model::ObjectKey;

use super::ViewPath;

/// An inode's number, `st_ino` and the kernel's own name for it at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ino(pub u64);

impl fmt::Display for Ino {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// The root.
pub const ROOT: Ino = Ino(1);

/// What a number stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// A place of the tree.
    Path(ViewPath),
    /// A stored file: the directory by which it was found last, and its number in that one.
    File(ViewPath, u32),
}

/// The numbers that are in use.
///
/// A number is a keyed hash, of an object's key for what is stored and of the path for the rest:
/// an SSTable that ten backups keep is one inode in every view of each, and has the same number
/// after a remount. Whatever stands between the hash and its number, probing finds the next one
/// that is free.
#[derive(Debug)]
pub struct Inodes {
    secret: [u8; 16],
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    places: HashMap<Ino, u32>,
    files: HashMap<Ino, File>,
    /// What was opened last of those that were opened.
    opened: HashMap<Ino, Bytes>,
    slots: Vec<Option<Place>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Place {
    path: ViewPath,
    ino: Ino,
    lookups: u64,
    /// Files that were found in it and that the kernel knows.
    files: u32,
}

/// Tells the bytes of a stored file from others under the same name: its number on the share, its
/// size and when it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes {
    /// The inode's number on the share.
    pub ino: u64,
    /// In bytes.
    pub size: u64,
    /// When it was written, as finely as the share says.
    pub modified: SystemTime,
}

/// 16 bytes, beside 8 of the number: there may be a million of these.
#[derive(Debug, Clone, Copy)]
struct File {
    slot: u32,
    index: u32,
    lookups: u32,
    /// More bits of the hash, to tell a collision from a second view.
    check: u32,
}

/// `cp -r` copies a directory's files by `d_ino`, so the class is in the highest bits: a manifest
/// comes before what it names. The topmost bit stays clear for programs that take the number for
/// a signed one.
#[derive(Debug, Clone, Copy)]
enum Class {
    Manifest = 0,
    Text = 1,
    Directory = 2,
    Stored = 3,
    Staged = 4,
}

const CLASS_SHIFT: u32 = 60;
const HASH_BITS: u64 = (1 << CLASS_SHIFT) - 1;

impl Class {
    fn of(path: &ViewPath) -> Self {
        match path {
            ViewPath::Meta(_, MetaFile::Manifest) => Self::Manifest,
            ViewPath::Meta(..)
            | ViewPath::Readme
            | ViewPath::Status
            | ViewPath::ControlFile(..)
            | ViewPath::JobFile(..) => Self::Text,
            ViewPath::Staged(_) => Self::Staged,
            _ => Self::Directory,
        }
    }
}

impl Inodes {
    /// No number is in use but the root's. Mounts with the same secret give the same numbers.
    pub fn new(secret: [u8; 16]) -> Self {
        let inodes = Self { secret, table: Mutex::default() };
        inodes.table.lock().add(ROOT, &ViewPath::Root);
        inodes
    }

    /// The number that `path` has or would get.
    pub fn number(&self, path: &ViewPath) -> Ino {
        let (wish, _check) = self.wish(path);
        self.table.lock().place_for(wish, path)
    }

    /// The number that a stored object has or would get.
    pub fn file_number(&self, key: &ObjectKey) -> Ino {
        let (wish, check) = self.file_wish(key);
        self.table.lock().file_for(wish, check)
    }

    /// Tells the kernel of `path` once more.
    pub fn remember(&self, path: &ViewPath) -> Ino {
        let (wish, _check) = self.wish(path);
        let mut table = self.table.lock();
        let ino = table.place_for(wish, path);
        table.add(ino, path);
        ino
    }

    /// Tells the kernel once more of the stored file that is number `index` of the directory
    /// `directory`; none if the kernel does not know that directory.
    ///
    /// From now on the number stands for the file in this directory: the backup through which it
    /// was found before may be purged, and this one stays.
    pub fn remember_file(&self, directory: Ino, index: u32, key: &ObjectKey) -> Option<Ino> {
        let (wish, check) = self.file_wish(key);
        let mut table = self.table.lock();
        let slot = *table.places.get(&directory)?;
        let ino = table.file_for(wish, check);
        let before = table.files.get(&ino).copied();
        let lookups = before.map_or(1, |file| file.lookups.saturating_add(1));
        let place = table.slots.get_mut(slot as usize)?.as_mut()?;
        place.files = place.files.saturating_add(1);
        table.files.insert(ino, File { slot, index, lookups, check });
        if let Some(before) = before {
            table.leave(before.slot);
        }
        Some(ino)
    }

    /// From now on the number stands for the file at `index` of `directory`, if the kernel knows
    /// that directory.
    pub fn move_file(&self, file: Ino, directory: &ViewPath, index: u32) {
        let (wish, _check) = self.wish(directory);
        let mut table = self.table.lock();
        let place = table.place_for(wish, directory);
        let Some(slot) = table.places.get(&place).copied() else { return };
        let Some(known) = table.files.get_mut(&file) else { return };
        let before = std::mem::replace(&mut known.slot, slot);
        known.index = index;
        if let Some(Some(place)) = table.slots.get_mut(slot as usize) {
            place.files = place.files.saturating_add(1);
        }
        table.leave(before);
    }

    /// Notes which bytes of a stored file are being opened. True if they are those that were
    /// opened last: pages that the kernel kept of them are still right.
    pub fn is_opened_again(&self, file: Ino, bytes: Bytes) -> bool {
        let mut table = self.table.lock();
        table.files.contains_key(&file) && table.opened.insert(file, bytes) == Some(bytes)
    }

    /// The kernel forgets `lookups` of what it was told about a number.
    pub fn forget(&self, ino: Ino, lookups: u64) {
        let mut table = self.table.lock();
        if let Some(file) = table.files.get_mut(&ino) {
            let left = u64::from(file.lookups).saturating_sub(lookups);
            file.lookups = u32::try_from(left).unwrap_or(u32::MAX);
            if left == 0 {
                let slot = file.slot;
                table.files.remove(&ino);
                table.opened.remove(&ino);
                table.leave(slot);
            }
        } else if let Some(slot) = table.places.get(&ino).copied() {
            if let Some(Some(place)) = table.slots.get_mut(slot as usize) {
                place.lookups = place.lookups.saturating_sub(lookups);
            }
            table.drop_if_unused(slot);
        }
    }

    /// What a number stands for; none if the kernel was never told of it, or has forgotten it.
    pub fn known(&self, ino: Ino) -> Option<Known> {
        let table = self.table.lock();
        if let Some(slot) = table.places.get(&ino) {
            return Some(Known::Path(table.path(*slot)?.clone()));
        }
        let file = table.files.get(&ino)?;
        Some(Known::File(table.path(file.slot)?.clone(), file.index))
    }

    /// Whether the kernel knows of `path`, and by which number.
    pub fn known_number(&self, path: &ViewPath) -> Option<Ino> {
        let (wish, _check) = self.wish(path);
        let table = self.table.lock();
        let ino = table.place_for(wish, path);
        table.places.contains_key(&ino).then_some(ino)
    }

    /// How many numbers the kernel knows.
    pub fn len(&self) -> usize {
        let table = self.table.lock();
        table.places.len() + table.files.len()
    }

    /// Whether the kernel knows none; it always knows the root.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn wish(&self, path: &ViewPath) -> (Ino, u32) {
        if *path == ViewPath::Root {
            return (ROOT, 0);
        }
        self.hash(Class::of(path), path.to_string().as_bytes())
    }

    fn file_wish(&self, key: &ObjectKey) -> (Ino, u32) {
        self.hash(Class::Stored, key.as_str().as_bytes())
    }

    fn hash(&self, class: Class, text: &[u8]) -> (Ino, u32) {
        let digest: [u8; 16] =
            Md5::new().chain_update(self.secret).chain_update(text).finalize().into();
        let bits = u128::from_le_bytes(digest);
        #[expect(clippy::cast_possible_truncation, reason = "two parts of the hash are wanted")]
        let (number, check) = (bits as u64 & HASH_BITS, (bits >> 64) as u32);
        // The root's number, and 0, which means "none" to the kernel, are nobody's.
        (Ino(((class as u64) << CLASS_SHIFT) | number.max(2)), check)
    }
}

impl Ino {
    fn next(self) -> Self {
        let number = (self.0 & HASH_BITS).wrapping_add(1) & HASH_BITS;
        Self((self.0 & !HASH_BITS) | number.max(2))
    }
}

impl Table {
    fn path(&self, slot: u32) -> Option<&ViewPath> {
        Some(&self.slots.get(slot as usize)?.as_ref()?.path)
    }

    fn place_for(&self, wish: Ino, path: &ViewPath) -> Ino {
        let mut ino = wish;
        while self.places.get(&ino).is_some_and(|slot| self.path(*slot) != Some(path)) {
            ino = ino.next();
        }
        ino
    }

    fn file_for(&self, wish: Ino, check: u32) -> Ino {
        let mut ino = wish;
        while self.files.get(&ino).is_some_and(|file| file.check != check) {
            ino = ino.next();
        }
        ino
    }

    fn add(&mut self, ino: Ino, path: &ViewPath) {
        if let Some(slot) = self.places.get(&ino) {
            if let Some(Some(place)) = self.slots.get_mut(*slot as usize) {
                place.lookups = place.lookups.saturating_add(1);
            }
            return;
        }
        let place = Some(Place { path: path.clone(), ino, lookups: 1, files: 0 });
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
        });
        if let Some(free) = self.slots.get_mut(slot as usize) {
            *free = place;
            self.places.insert(ino, slot);
        }
    }

    /// One file less is known by that place.
    fn leave(&mut self, slot: u32) {
        if let Some(Some(place)) = self.slots.get_mut(slot as usize) {
            place.files = place.files.saturating_sub(1);
        }
        self.drop_if_unused(slot);
    }

    fn drop_if_unused(&mut self, slot: u32) {
        let Some(Some(place)) = self.slots.get(slot as usize) else { return };
        if place.lookups == 0 && place.files == 0 && place.ino != ROOT {
            let ino = place.ino;
            self.places.remove(&ino);
            if let Some(used) = self.slots.get_mut(slot as usize) {
                *used = None;
            }
            self.free.push(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::BackupName;
    use crate::model::Fqdn;
    use crate::model::Keyspace;
    use crate::model::TableDirectory;
    use crate::view::FilesDirectory;
    use crate::view::NodeBackupId;
    use crate::view::Side;

    fn table(side: Side, backup: &str) -> ViewPath {
        ViewPath::Files(FilesDirectory {
            side,
            of: of(backup),
            keyspace: Keyspace::parse("shop").unwrap(),
            table: TableDirectory::parse("orders").unwrap(),
            index: None,
        })
    }

    fn of(backup: &str) -> NodeBackupId {
        NodeBackupId::new(BackupName::parse(backup).unwrap(), Fqdn::parse("node1").unwrap())
    }

    fn key(text: &str) -> ObjectKey {
        ObjectKey::parse(text).unwrap()
    }

    #[test]
    fn one_object_is_one_inode_in_every_view_of_every_backup() {
        let inodes = Inodes::new([7; 16]);
        let data = key("node1/data/shop/orders/nb-1-big-Data.db");
        let seen: Vec<_> = [(Side::ByBackup, "b1"), (Side::ByNode, "b1"), (Side::ByTable, "b2")]
            .into_iter()
            .map(|(side, backup)| {
                let directory = inodes.remember(&table(side, backup));
                inodes.remember_file(directory, 3, &data).unwrap()
            })
            .collect();
        assert!(seen.iter().all(|ino| *ino == inodes.file_number(&data)), "{seen:?}");
    }

    #[test]
    fn no_two_paths_share_a_directory_s_inode() {
        let inodes = Inodes::new([7; 16]);
        assert_ne!(
            inodes.remember(&table(Side::ByBackup, "b1")),
            inodes.remember(&table(Side::ByNode, "b1"))
        );
    }

    #[test]
    fn numbers_are_the_same_after_a_remount() {
        let path = table(Side::ByNode, "b1");
        assert_eq!(Inodes::new([1; 16]).number(&path), Inodes::new([1; 16]).number(&path));
        assert_ne!(Inodes::new([1; 16]).number(&path), Inodes::new([2; 16]).number(&path));
    }

    #[test]
    fn a_manifest_is_copied_before_directories_and_those_before_sstables() {
        let inodes = Inodes::new([3; 16]);
        let manifest = inodes.number(&ViewPath::Meta(of("b"), MetaFile::Manifest));
        let schema = inodes.number(&ViewPath::Meta(of("b"), MetaFile::Schema));
        let directory = inodes.number(&table(Side::ByBackup, "b"));
        let file = inodes.file_number(&key("a/b"));
        assert!(manifest < schema && schema < directory && directory < file);
        assert!(i64::try_from(file.0).is_ok());
    }

    #[test]
    fn a_collision_gets_the_next_number_and_keeps_it() {
        let inodes = Inodes::new([0; 16]);
        let mut table = inodes.table.lock();
        let (wish, first, second) = (Ino(500), ViewPath::Backups, ViewPath::Nodes);
        let ino = table.place_for(wish, &first);
        table.add(ino, &first);
        let other = table.place_for(wish, &second);
        table.add(other, &second);
        assert_eq!((ino, other), (Ino(500), Ino(501)));
        assert_eq!(table.place_for(wish, &second), Ino(501));
    }

    #[test]
    fn what_the_kernel_forgets_takes_no_memory() {
        let inodes = Inodes::new([0; 16]);
        let directory = inodes.remember(&table(Side::ByBackup, "b"));
        let file = inodes.remember_file(directory, 0, &key("a/b")).unwrap();
        assert_eq!(inodes.remember_file(directory, 0, &key("a/b")), Some(file));
        inodes.forget(directory, 1);
        assert!(matches!(inodes.known(file), Some(Known::File(_, 0))));
        inodes.forget(file, 2);
        assert_eq!((inodes.known(file), inodes.known(directory)), (None, None));
        assert_eq!(inodes.len(), 1);
    }

    #[test]
    fn a_file_belongs_to_the_directory_in_which_it_was_found_last() {
        let inodes = Inodes::new([0; 16]);
        let [old, new] = ["old", "new"].map(|name| table(Side::ByBackup, name));
        let [by_old, by_new] = [&old, &new].map(|path| inodes.remember(path));
        let file = inodes.remember_file(by_old, 3, &key("a/b")).unwrap();
        assert_eq!(inodes.remember_file(by_new, 5, &key("a/b")), Some(file));
        assert_eq!(inodes.known(file), Some(Known::File(new.clone(), 5)));
        inodes.forget(by_old, 1);
        assert_eq!(inodes.known(by_old), None, "nothing holds the old one any more");
        inodes.forget(by_new, 1);
        assert_eq!(inodes.known(by_new), Some(Known::Path(new)), "the file holds it");
        inodes.forget(file, 2);
        assert_eq!(inodes.len(), 1);
    }

    #[test]
    fn pages_are_kept_only_of_the_bytes_that_were_opened_last() {
        let inodes = Inodes::new([0; 16]);
        let directory = inodes.remember(&table(Side::ByBackup, "b"));
        let file = inodes.remember_file(directory, 0, &key("a/b")).unwrap();
        let at = |seconds| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        let bytes = |modified| Bytes { ino: 7, size: 9, modified: at(modified) };
        let again = [1, 1, 2, 1].map(|modified| inodes.is_opened_again(file, bytes(modified)));
        assert_eq!(again, [false, true, false, false]);
        inodes.forget(file, 1);
        assert!(!inodes.is_opened_again(file, bytes(1)), "what is forgotten has no pages");
    }
}

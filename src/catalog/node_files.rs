//! The files of one node backup, held tightly: some 70 bytes each.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::time::SystemTime;

use crate::medusa::{Layout, MetaFile, Mode};
use crate::model::{ByteSize, Fqdn, Keyspace, Md5, ObjectKey, TableDirectory};

use super::Refusal;

/// The files of one node backup, as its manifest names them, sorted by keyspace, table, secondary
/// index and name.
#[derive(Debug)]
pub struct NodeFiles {
    pub(super) meta: Vec<MetaObject>,
    pub(super) tables: Box<[TableRow]>,
    pub(super) files: Box<[FileRow]>,
    /// All names one after the other.
    pub(super) names: Box<str>,
    /// Directories of secondary indexes, dot included.
    pub(super) indexes: Box<[Box<str>]>,
    /// Where files lie, below the store's root.
    pub(super) directories: Box<[Box<str>]>,
    /// How the store is laid out, below whose directory of `fqdn` variants lie.
    pub(super) layout: Layout,
    pub(super) fqdn: Fqdn,
    /// The node's directory.
    pub(super) node: ObjectKey,
    pub(super) mode: Mode,
    pub(super) size: ByteSize,
    pub(super) refused: Vec<Refusal>,
    pub(super) refused_count: u64,
}

/// A file of a node backup's `meta`, or the index's copy of it where that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaObject {
    /// Which.
    pub file: MetaFile,
    /// Where it lies.
    pub key: ObjectKey,
    /// In bytes.
    pub size: u64,
    /// When it was written, by the share's clock.
    pub modified: SystemTime,
}

#[derive(Debug)]
pub(super) struct TableRow {
    pub(super) keyspace: Keyspace,
    pub(super) table: TableDirectory,
    pub(super) files: Range<u32>,
}

/// 40 bytes; the name stands in `names`.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileRow {
    pub(super) size: u64,
    pub(super) md5: [u8; 16],
    pub(super) name_at: u32,
    pub(super) directory: u32,
    /// 0: the table's own files; else the place in `indexes`, and one.
    pub(super) index: u16,
    pub(super) name_len: u8,
    pub(super) has_md5: bool,
}

/// In place of a directory: the variant of the pool, which its MD5 names.
pub(super) const VARIANT: u32 = u32::MAX;

impl NodeFiles {
    /// The stored files of `meta`, by name; those that are gone are left out.
    pub fn meta(&self) -> &[MetaObject] {
        &self.meta
    }

    /// The tables, sorted by keyspace, then table; empty ones too.
    pub fn tables(
        &self,
    ) -> impl DoubleEndedIterator<Item = TableRef<'_>> + ExactSizeIterator + Clone {
        self.tables.iter().map(|row| TableRef { files: self, row })
    }

    /// The table at a place in the order of [`NodeFiles::tables`], without counting up to it.
    pub fn table_at(&self, place: usize) -> Option<TableRef<'_>> {
        Some(TableRef { files: self, row: self.tables.get(place)? })
    }

    /// The keyspaces, sorted, each once.
    pub fn keyspaces(&self) -> impl Iterator<Item = &Keyspace> {
        let before = std::iter::once(None).chain(self.tables.iter().map(|row| Some(&row.keyspace)));
        let each = self.tables.iter().map(|row| &row.keyspace);
        each.zip(before).filter(|(this, before)| Some(*this) != *before).map(|(this, _)| this)
    }

    /// The tables of a keyspace, sorted; nothing if there is no such keyspace.
    pub fn tables_of(&self, keyspace: &str) -> impl ExactSizeIterator<Item = TableRef<'_>> {
        let from = self.tables.partition_point(|row| row.keyspace.as_str() < keyspace);
        let to = self.tables.partition_point(|row| row.keyspace.as_str() <= keyspace);
        let rows = self.tables.get(from..to).unwrap_or_default();
        rows.iter().map(|row| TableRef { files: self, row })
    }

    /// The table of that keyspace and directory name.
    pub fn table(&self, keyspace: &str, table: &str) -> Option<TableRef<'_>> {
        let wanted = (keyspace, table);
        let found = self
            .tables
            .binary_search_by(|row| (row.keyspace.as_str(), row.table.as_str()).cmp(&wanted));
        Some(TableRef { files: self, row: self.tables.get(found.ok()?)? })
    }

    /// Full, or differential if any file lies in the pool.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The files that lie where `objects` say, with what is said there. One pass over all files.
    pub(super) fn named<'a, T>(
        &'a self,
        objects: &'a BTreeMap<ObjectKey, T>,
    ) -> impl Iterator<Item = (FileRef<'a>, &'a ObjectKey, &'a T)> {
        let parent = |key: &'a ObjectKey| key.as_str().rsplit_once('/').map(|(parent, _)| parent);
        let parents: HashSet<&str> = objects.keys().filter_map(parent).collect();
        let is_wanted: Vec<bool> =
            self.directories.iter().map(|directory| parents.contains(&**directory)).collect();
        let is_wanted = move |row: &&FileRow| {
            // A variant lies in a directory of its own.
            let place = usize::try_from(row.directory).unwrap_or(usize::MAX);
            is_wanted.get(place).copied().unwrap_or(row.directory == VARIANT)
        };
        self.files.iter().filter(is_wanted).filter_map(|row| {
            let file = FileRef { files: self, row };
            let (key, said) = objects.get_key_value(&file.key())?;
            Some((file, key, said))
        })
    }

    /// How many files there are, those of `meta` not counted.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// True if there is no file: a backup of nothing.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// What the files have together, by the manifest.
    pub fn size(&self) -> ByteSize {
        self.size
    }

    /// Entries of the manifest that are not shown, up to a hundred of them.
    pub fn refused(&self) -> &[Refusal] {
        &self.refused
    }

    /// How many entries of the manifest are not shown.
    pub fn refused_count(&self) -> u64 {
        self.refused_count
    }

    /// What it takes in memory, in bytes.
    pub fn heap_size(&self) -> usize {
        let texts = |texts: &[Box<str>]| -> usize {
            texts.iter().map(|text| size_of::<Box<str>>().saturating_add(heap(text.len()))).sum()
        };
        let names = |row: &TableRow| {
            // Two counters stand before the text of an `Arc<str>`.
            let shared = |len: usize| heap(len.saturating_add(16));
            shared(row.keyspace.as_str().len()).saturating_add(shared(row.table.as_str().len()))
        };
        let refused: usize =
            self.refused.iter().map(|refusal| size_of::<Refusal>() + refusal.path.len()).sum();
        size_of::<Self>()
            + size_of_val(&*self.files)
            + size_of_val(&*self.tables)
            + self.tables.iter().map(names).sum::<usize>()
            + self.names.len()
            + texts(&self.directories)
            + texts(&self.indexes)
            + refused
    }

    fn rows(&self, row: &TableRow) -> &[FileRow] {
        let place = |at: u32| usize::try_from(at).unwrap_or(usize::MAX);
        self.files.get(place(row.files.start)..place(row.files.end)).unwrap_or_default()
    }

    fn name_of(&self, row: &FileRow) -> &str {
        let from = usize::try_from(row.name_at).unwrap_or(usize::MAX);
        let to = from.saturating_add(usize::from(row.name_len));
        self.names.get(from..to).unwrap_or_default()
    }

    fn index_of(&self, row: &FileRow) -> Option<&str> {
        let place = usize::from(row.index).checked_sub(1)?;
        self.indexes.get(place).map(|name| &**name)
    }
}

/// What the allocator gives for so many bytes.
fn heap(len: usize) -> usize {
    len.saturating_add(8).next_multiple_of(16).max(24)
}

/// A table of a [`NodeFiles`].
#[derive(Debug, Clone, Copy)]
pub struct TableRef<'a> {
    files: &'a NodeFiles,
    row: &'a TableRow,
}

impl<'a> TableRef<'a> {
    /// Its keyspace.
    pub fn keyspace(self) -> &'a Keyspace {
        &self.row.keyspace
    }

    /// Its directory's name.
    pub fn directory(self) -> &'a TableDirectory {
        &self.row.table
    }

    /// All its files, those of secondary indexes after its own; sorted by index, then name.
    pub fn files(self) -> impl DoubleEndedIterator<Item = FileRef<'a>> + ExactSizeIterator + Clone {
        let files = self.files;
        files.rows(self.row).iter().map(move |row| FileRef { files, row })
    }

    /// The file at a place in the order of [`TableRef::files`], without counting up to it.
    pub fn nth_file(self, place: usize) -> Option<FileRef<'a>> {
        Some(FileRef { files: self.files, row: self.files.rows(self.row).get(place)? })
    }

    /// The directories of its secondary indexes, sorted, each once.
    pub fn indexes(self) -> impl Iterator<Item = &'a str> {
        let mut last = None;
        self.files().filter_map(FileRef::index).filter(move |index| {
            let is_new = last != Some(*index);
            last = Some(*index);
            is_new
        })
    }

    /// Its own files, or those of the secondary index whose directory is `index`; sorted by name.
    pub fn files_in(self, index: Option<&str>) -> impl ExactSizeIterator<Item = FileRef<'a>> {
        let files = self.files;
        self.rows_in(index).iter().map(move |row| FileRef { files, row })
    }

    /// How many files [`TableRef::files_in`] has.
    pub fn len_in(self, index: Option<&str>) -> usize {
        self.rows_in(index).len()
    }

    /// The file at a place in the order of [`TableRef::files_in`], without counting up to it.
    pub fn file_at(self, index: Option<&str>, place: usize) -> Option<FileRef<'a>> {
        Some(FileRef { files: self.files, row: self.rows_in(index).get(place)? })
    }

    /// The place in the order of [`TableRef::files_in`] of the file of that name.
    pub fn place(self, index: Option<&str>, name: &str) -> Option<usize> {
        let rows = self.rows_in(index);
        rows.binary_search_by(|row| self.files.name_of(row).cmp(name)).ok()
    }

    fn rows_in(self, index: Option<&str>) -> &'a [FileRow] {
        let files = self.files;
        let rows = files.rows(self.row);
        let wanted = index.unwrap_or_default();
        let place = |row: &FileRow| files.index_of(row).unwrap_or_default().cmp(wanted);
        let from = rows.partition_point(|row| place(row) == Ordering::Less);
        let to = rows.partition_point(|row| place(row) != Ordering::Greater);
        rows.get(from..to).unwrap_or_default()
    }

    /// The file of that name: its own, or of the secondary index whose directory is `index`.
    pub fn file(self, index: Option<&str>, name: &str) -> Option<FileRef<'a>> {
        let files = self.files;
        let rows = files.rows(self.row);
        let wanted = (index.unwrap_or_default(), name);
        let found = rows.binary_search_by(|row| {
            (files.index_of(row).unwrap_or_default(), files.name_of(row)).cmp(&wanted)
        });
        Some(FileRef { files, row: rows.get(found.ok()?)? })
    }

    /// What its files have together, by the manifest.
    pub fn size(self) -> ByteSize {
        ByteSize(self.files().fold(0, |sum, file| sum.saturating_add(file.size())))
    }
}

/// A file of a [`NodeFiles`].
#[derive(Debug, Clone, Copy)]
pub struct FileRef<'a> {
    files: &'a NodeFiles,
    row: &'a FileRow,
}

impl<'a> FileRef<'a> {
    /// The whole that it is one of.
    pub(super) fn manifest(self) -> &'a NodeFiles {
        self.files
    }

    /// Its name.
    pub fn name(self) -> &'a str {
        self.files.name_of(self.row)
    }

    /// The directory of the secondary index that it belongs to, dot included.
    pub fn index(self) -> Option<&'a str> {
        self.files.index_of(self.row)
    }

    /// Below the table's directory: `NAME` or `.INDEX/NAME`.
    pub fn path(self) -> String {
        match self.index() {
            Some(index) => format!("{index}/{}", self.name()),
            None => self.name().to_owned(),
        }
    }

    /// In bytes, by the manifest; what lies on the share may be another.
    pub fn size(self) -> u64 {
        self.row.size
    }

    /// The MD5 of its content, where the manifest has one that can be believed.
    pub fn md5(self) -> Option<Md5> {
        self.row.has_md5.then_some(Md5(self.row.md5))
    }

    /// Where it lies.
    pub fn key(self) -> ObjectKey {
        let (files, name) = (self.files, self.name());
        let key = match self.row.directory {
            VARIANT => files.layout.variant(&files.fqdn, Md5(self.row.md5), self.index(), name),
            place => {
                let place = usize::try_from(place).unwrap_or(usize::MAX);
                let directory = files.directories.get(place).map(|text| &**text);
                ObjectKey::parse(&format!("{}/{name}", directory.unwrap_or_default()))
            }
        };
        // It was taken apart from a key, and is one again. Were it not, reading it must fail: the
        // node's directory is no file.
        key.unwrap_or_else(|_| files.node.clone())
    }

    /// Whether what lies there may rightly be another than the manifest says: see
    /// [`Layout::may_be_written_anew`].
    pub fn may_be_written_anew(self) -> bool {
        self.files.layout.may_be_written_anew(&self.key())
    }
}

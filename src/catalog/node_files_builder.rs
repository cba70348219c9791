//! From a manifest to a [`NodeFiles`], entry by entry.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::medusa::{Layout, ManifestVisitor, Mode, Place, RecordedHash};
use crate::model::{BackupName, ByteSize, Fqdn, Keyspace, ObjectKey, TableDirectory};

use super::entry::{Entry, EntryNames, table_of};
use super::node_files::{FileRow, TableRow, VARIANT};
use super::{MetaObject, NodeFiles};

/// An entry of a manifest that is not shown, and cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// As the manifest has it, cut after 200 bytes.
    pub path: String,
    /// Why.
    pub kind: RefusalKind,
}

/// Why an entry of a manifest is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalKind {
    /// It is absolute, has `..`, or lies outside of its node's part of the store.
    Path,
    /// Its keyspace or table is no directory name, or is one that the tree uses itself.
    Table,
    /// Another entry of the table has the same name and lies elsewhere.
    Collision,
    /// There is no room for more.
    TooMany,
}

/// How many refusals are kept for people to read.
const REFUSALS: usize = 100;

/// Gathers the files of one node backup.
pub(super) struct NodeFilesBuilder<'a> {
    layout: &'a Layout,
    fqdn: &'a Fqdn,
    names_of: EntryNames,
    node: ObjectKey,
    /// False if the MD5s of this manifest are of something else.
    has_hashes: bool,
    /// The most bytes that may be taken.
    limit: usize,
    taken: usize,
    tables: BTreeMap<(Keyspace, TableDirectory), Vec<FileRow>>,
    /// Of the section that is being read. Whether an index's directory is the table's own is found
    /// out when the table's name is known.
    pending: Vec<FileRow>,
    names: String,
    indexes: Interned,
    directories: Interned,
    refused: Vec<Refusal>,
    refused_count: u64,
    is_full: bool,
    mode: Mode,
    size: u64,
}

fn name_in<'a>(names: &'a str, row: &FileRow) -> &'a str {
    let from = usize::try_from(row.name_at).unwrap_or(usize::MAX);
    names.get(from..from.saturating_add(usize::from(row.name_len))).unwrap_or_default()
}

fn index_in<'a>(indexes: &'a [Box<str>], row: &FileRow) -> &'a str {
    let place = usize::from(row.index).checked_sub(1);
    place.and_then(|place| indexes.get(place)).map_or("", |text| text)
}

#[derive(Default)]
struct Interned {
    places: HashMap<Box<str>, u32>,
    texts: Vec<Box<str>>,
}

impl Interned {
    /// The place of `text`; none if there are too many already.
    fn place(&mut self, text: &str, most: u32) -> Option<u32> {
        if let Some(place) = self.places.get(text) {
            return Some(*place);
        }
        let place = u32::try_from(self.texts.len()).ok().filter(|place| *place < most)?;
        self.texts.push(Box::from(text));
        self.places.insert(Box::from(text), place);
        Some(place)
    }
}

impl<'a> NodeFilesBuilder<'a> {
    pub(super) fn new(
        layout: &'a Layout,
        fqdn: &'a Fqdn,
        backup: &BackupName,
        node: ObjectKey,
        has_hashes: bool,
        limit: ByteSize,
    ) -> Self {
        Self {
            layout,
            fqdn,
            names_of: EntryNames::new(backup),
            node,
            has_hashes,
            limit: usize::try_from(limit.0).unwrap_or(usize::MAX),
            taken: 0,
            tables: BTreeMap::new(),
            pending: Vec::new(),
            names: String::new(),
            indexes: Interned::default(),
            directories: Interned::default(),
            refused: Vec::new(),
            refused_count: 0,
            is_full: false,
            mode: Mode::Full,
            size: 0,
        }
    }

    /// The whole; none if it takes more memory than it may.
    pub(super) fn finish(mut self, meta: Vec<MetaObject>) -> Option<NodeFiles> {
        if self.is_full {
            return None;
        }
        let count = self.tables.values().map(Vec::len).sum();
        let (mut rows, mut tables) = (Vec::with_capacity(count), Vec::new());
        for ((keyspace, table), mut files) in std::mem::take(&mut self.tables) {
            self.tidy(&mut files);
            let from = u32::try_from(rows.len()).ok()?;
            rows.append(&mut files);
            let to = u32::try_from(rows.len()).ok()?;
            tables.push(TableRow { keyspace, table, files: from..to });
        }
        self.size = rows.iter().fold(0, |sum: u64, row: &FileRow| sum.saturating_add(row.size));
        Some(NodeFiles {
            meta,
            tables: tables.into_boxed_slice(),
            files: rows.into_boxed_slice(),
            names: self.names.into_boxed_str(),
            indexes: self.indexes.texts.into_boxed_slice(),
            directories: self.directories.texts.into_boxed_slice(),
            layout: self.layout.clone(),
            fqdn: self.fqdn.clone(),
            node: self.node,
            mode: self.mode,
            size: ByteSize(self.size),
            refused: self.refused,
            refused_count: self.refused_count,
        })
    }

    /// Sorts a table's files, and leaves one of each name: the one that the manifest has first.
    fn tidy(&mut self, files: &mut Vec<FileRow>) {
        let (names, indexes) = (&*self.names, &*self.indexes.texts);
        let place = |row: &FileRow| (index_in(indexes, row), name_in(names, row));
        files.sort_by(|a, b| place(a).cmp(&place(b)));
        let directories: BTreeSet<&str> =
            files.iter().filter(|row| row.index != 0).map(|row| index_in(indexes, row)).collect();
        let mut collided = Vec::new();
        let mut last: Option<FileRow> = None;
        files.retain(|row| {
            if row.index == 0 && directories.contains(name_in(names, row)) {
                collided.push(name_in(names, row).to_owned());
                return false;
            }
            let Some(first) = last.filter(|first| place(first) == place(row)) else {
                last = Some(*row);
                return true;
            };
            let is_same = (first.directory, first.size) == (row.directory, row.size)
                && (first.directory != VARIANT || first.md5 == row.md5);
            if !is_same {
                collided.push(name_in(names, row).to_owned());
            }
            false
        });
        for path in collided {
            self.refuse(&path, RefusalKind::Collision);
        }
    }

    fn refuse(&mut self, path: &str, kind: RefusalKind) {
        self.refused_count = self.refused_count.saturating_add(1);
        if self.refused.len() < REFUSALS {
            let end = path.char_indices().map(|(at, _)| at).take_while(|at| *at <= 200).last();
            let whole = path.len() <= 200;
            let path = if whole { path } else { path.get(..end.unwrap_or(0)).unwrap_or_default() };
            self.refused.push(Refusal { path: path.to_owned(), kind });
        }
    }

    fn take(&mut self, bytes: usize) {
        self.taken = self.taken.saturating_add(bytes);
        self.is_full |= self.taken > self.limit;
    }

    /// Where an object lies and what it is called, without a text of its own where that is known.
    fn row(&mut self, key: &ObjectKey, size: u64, hash: RecordedHash) -> Option<FileRow> {
        let Entry { directory, index, name } = self.names_of.of(key)?;
        let md5 = hash.content();
        let is_variant = matches!(
            self.layout.place(key),
            Place::Variant { md5: named, ref index, .. }
                if Some(named) == md5 && index.as_ref().is_none_or(|index| index.starts_with('.'))
        );
        let index = match index {
            Some(index) => {
                let place = self.indexes.place(index, u32::from(u16::MAX))?;
                u16::try_from(place).ok()?.checked_add(1)?
            }
            None => 0,
        };
        let known = self.directories.texts.len();
        let place =
            if is_variant { VARIANT } else { self.directories.place(directory, VARIANT)? };
        if self.directories.texts.len() > known {
            // While it is built, it stands twice, and in a table of its own.
            self.take(directory.len().saturating_mul(2).saturating_add(96));
        }
        let name_at = u32::try_from(self.names.len()).ok()?;
        let name_len = u8::try_from(name.len()).ok()?;
        self.names.push_str(name);
        // A row stands twice for a while: in its table, and among all.
        self.take(name.len().saturating_add(2 * size_of::<FileRow>()));
        let believed = md5.filter(|_| self.has_hashes || is_variant);
        Some(FileRow {
            size,
            md5: believed.map_or([0; 16], |md5| md5.0),
            name_at,
            directory: place,
            index,
            name_len,
            has_md5: believed.is_some(),
        })
    }
}

impl ManifestVisitor for NodeFilesBuilder<'_> {
    fn object(&mut self, path: &str, size: u64, hash: RecordedHash) {
        if self.is_full {
            return;
        }
        let Ok(key) = self.layout.object_of(self.fqdn, path) else {
            return self.refuse(path, RefusalKind::Path);
        };
        self.mode = self.mode.max(Mode::of_object(&self.node, &key));
        match self.row(&key, size, hash) {
            Some(row) => self.pending.push(row),
            None => self.refuse(path, RefusalKind::TooMany),
        }
    }

    fn section(&mut self, keyspace: &str, columnfamily: &str) {
        let pending = std::mem::take(&mut self.pending);
        if self.is_full {
            return;
        }
        let Some(table) = table_of(keyspace, columnfamily) else {
            for _ in 0..pending.len().max(1) {
                self.refuse(&format!("{keyspace}/{columnfamily}"), RefusalKind::Table);
            }
            return;
        };
        self.take(size_of::<TableRow>().saturating_add(128));
        let own = self.indexes.places.get(columnfamily).and_then(|at| u16::try_from(*at).ok());
        let own = own.and_then(|at| at.checked_add(1));
        let rows = pending.into_iter().map(|row| {
            let index = if Some(row.index) == own { 0 } else { row.index };
            FileRow { index, ..row }
        });
        self.tables.entry(table).or_default().extend(rows);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::medusa::read_manifest;
    use std::fmt::Write;

    fn build(layout: &Layout, manifest: &str, limit: u64) -> Option<NodeFiles> {
        let fqdn = Fqdn::parse("n1").unwrap();
        let backup = BackupName::parse("all-nodes").unwrap();
        let node = layout.node(&fqdn).unwrap();
        let mut builder =
            NodeFilesBuilder::new(layout, &fqdn, &backup, node, true, ByteSize(limit));
        read_manifest(manifest.as_bytes(), &mut builder).unwrap();
        builder.finish(Vec::new())
    }

    fn manifest(objects: &[(&str, u64)]) -> String {
        let objects: Vec<_> = objects
            .iter()
            .map(|(path, size)| format!(r#"{{"path": "{path}", "MD5": null, "size": {size}}}"#))
            .collect();
        format!(
            r#"[{{"keyspace": "k", "columnfamily": "t-1", "objects": [{}]}}]"#,
            objects.join(", ")
        )
    }

    fn shown(files: &NodeFiles) -> Vec<(String, String)> {
        let table = files.table("k", "t-1").unwrap();
        table.files().map(|file| (file.path(), file.key().to_string())).collect()
    }

    #[test]
    fn files_are_sorted_and_found_by_name_wherever_they_lie() {
        let md5 = "d1f12c37c9d318a711062bf4fee2ba71";
        let text = format!(
            r#"[{{"keyspace": "k", "columnfamily": "t-1", "objects": [
                {{"path": "n1/data/k/t-1/.idx/a.db", "MD5": null, "size": 1}},
                {{"path": "n1/data/.medusafs/{md5}/v/c.db", "MD5": "{md5}", "size": 2}},
                {{"path": "n1/data/.medusafs/{md5}/.idx/d.db", "MD5": "{md5}", "size": 2}},
                {{"path": "n1/data/k/t-1/b.db", "MD5": "0fEsN8nTGKcRBiv0/uK6cQ==", "size": 3}}]}}]"#
        );
        let files = build(&Layout::default(), &text, 1 << 20).unwrap();
        let pairs = [
            ("b.db", "n1/data/k/t-1/b.db".to_owned()),
            ("c.db", format!("n1/data/.medusafs/{md5}/v/c.db")),
            (".idx/a.db", "n1/data/k/t-1/.idx/a.db".to_owned()),
            (".idx/d.db", format!("n1/data/.medusafs/{md5}/.idx/d.db")),
        ];
        assert_eq!(shown(&files), pairs.map(|(path, key)| (path.to_owned(), key)));
        let table = files.table("k", "t-1").unwrap();
        assert_eq!(table.file(Some(".idx"), "d.db").unwrap().size(), 2);
        assert_eq!(table.file(None, "b.db").unwrap().md5().unwrap().to_string(), md5);
        assert!(table.file(None, "d.db").is_none());
        assert_eq!(table.files_in(Some(".idx")).len(), 2);
        assert_eq!(table.indexes().collect::<Vec<_>>(), [".idx"]);
        assert_eq!((files.len(), files.size(), files.mode()), (4, ByteSize(8), Mode::Differential));
    }

    #[test]
    fn what_lies_outside_of_the_node_s_part_is_refused_alone() {
        let text = manifest(&[
            ("/etc/passwd", 1),
            ("n1/../n2/data/k/t-1/a.db", 1),
            ("n2/data/k/t-1/a.db", 1),
            ("n1/data/k/t-1/a.db", 1),
        ]);
        let files = build(&Layout::default(), &text, 1 << 20).unwrap();
        assert_eq!(shown(&files).len(), 1);
        assert_eq!(files.refused_count(), 3);
        assert!(files.refused().iter().all(|refusal| refusal.kind == RefusalKind::Path));
    }

    #[test]
    fn of_two_entries_with_one_name_the_first_counts_and_one_said_twice_is_one() {
        let text = manifest(&[
            ("n1/b/data/k/t-1/a.db", 1),
            ("n1/b/data/k/t-1/a.db", 1),
            ("n1/b/data/elsewhere/a.db", 1),
            ("n1/b/data/k/t-1/.idx", 1),
            ("n1/b/data/k/t-1/.idx/a.db", 1),
        ]);
        let files = build(&Layout::default(), &text, 1 << 20).unwrap();
        let paths: Vec<_> = shown(&files).into_iter().map(|(path, _)| path).collect();
        assert_eq!(paths, ["a.db", ".idx/a.db"]);
        assert_eq!(shown(&files)[0].1, "n1/b/data/k/t-1/a.db");
        assert_eq!(files.refused_count(), 2);
    }

    #[test]
    fn files_that_medusa_stored_a_directory_too_deep_are_shown_where_they_belong() {
        let text = manifest(&[("n1/all-nodes/data/k/t-1/medusa-all-nodes/a.db", 1)]);
        let files = build(&Layout::default(), &text, 1 << 20).unwrap();
        assert_eq!(shown(&files)[0].0, "a.db");
    }

    #[test]
    fn a_table_that_comes_twice_is_one_table() {
        let one = manifest(&[("n1/data/k/t-1/b.db", 1)]);
        let two = manifest(&[("n1/data/k/t-1/a.db", 1)]);
        let text =
            format!("{}, {}", one.strip_suffix(']').unwrap(), two.strip_prefix('[').unwrap());
        let files = build(&Layout::default(), &text, 1 << 20).unwrap();
        assert_eq!((files.tables().len(), shown(&files).len()), (1, 2));
    }

    #[test]
    fn a_keyspace_that_the_tree_has_no_room_for_is_refused() {
        let text = manifest(&[("n1/data/k/t-1/a.db", 1)]);
        for name in [".medusa", "manifest.json", "..", "a/b"] {
            let text = text.replace(r#""keyspace": "k""#, &format!(r#""keyspace": "{name}""#));
            let files = build(&Layout::default(), &text, 1 << 20).unwrap();
            assert_eq!((files.tables().len(), files.refused_count()), (0, 1), "{name}");
        }
    }

    /// As Cassandra 5 names them, ten components a table in turn.
    fn large(files: usize) -> String {
        let mut objects = String::new();
        for file in 0..files {
            let (generation, part) = (file / 8, file % 8);
            let part = [
                "Data",
                "Index",
                "Filter",
                "Summary",
                "Statistics",
                "TOC",
                "Digest",
                "CompressionInfo",
            ][part];
            let comma = if file == 0 { "" } else { ", " };
            let md5 = "d1f12c37c9d318a711062bf4fee2ba71";
            write!(
                objects,
                r#"{comma}{{"path": "n1/data/shop/orders-1b255f4def2540a60000000000000005/nb-{generation}-big-{part}.db", "MD5": "{md5}", "size": {file}}}"#
            )
            .unwrap();
        }
        format!(
            r#"[{{"keyspace": "shop", "columnfamily": "orders-1b255f4def2540a60000000000000005", "objects": [{objects}]}}]"#
        )
    }

    #[test]
    fn a_known_file_takes_less_than_the_promised_120_bytes() {
        let files = build(&Layout::default(), &large(20_000), 1 << 30).unwrap();
        assert_eq!(files.len(), 20_000);
        let each = files.heap_size() / files.len();
        println!("{each} bytes a file");
        assert!(each <= 120, "{each} bytes a file");
    }

    #[test]
    fn a_manifest_that_needs_more_memory_than_allowed_is_not_kept() {
        assert!(build(&Layout::default(), &large(20_000), 1 << 20).is_none());
    }
}

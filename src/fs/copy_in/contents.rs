//! A stored node backup, as what a set of it must hold.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::catalog::FileRef;
use crate::catalog::NodeFiles;
use crate::staging::Contents;
use crate::staging::Wanted;

/// The files of a node backup by their place: those of `meta` first, then the tables' in order.
pub struct SnapshotFiles {
    files: Arc<NodeFiles>,
    /// The place of each table's first file, counted after `meta`.
    starts: Vec<usize>,
}

impl SnapshotFiles {
    /// Takes what the catalog read.
    pub fn new(files: Arc<NodeFiles>) -> Self {
        let mut at = 0_usize;
        let start = |len: usize| {
            let start = at;
            at = at.saturating_add(len);
            start
        };
        let starts = files.tables().map(|table| table.files().len()).map(start).collect();
        Self { files, starts }
    }

    fn meta_len(&self) -> usize {
        self.files.meta().len()
    }
}

/// Where, of `len` sorted things, the one stands that compares as equal.
fn search(len: usize, compare: impl Fn(usize) -> Option<Ordering>) -> Option<usize> {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = low.midpoint(high);
        match compare(middle)? {
            Ordering::Less => low = middle.checked_add(1)?,
            Ordering::Greater => high = middle,
            Ordering::Equal => return Some(middle),
        }
    }
    None
}

fn wanted(file: FileRef<'_>) -> Wanted {
    let may_be_written_anew = file.may_be_written_anew();
    Wanted { key: file.key(), size: file.size(), md5: file.md5(), may_be_written_anew }
}

impl Contents for SnapshotFiles {
    fn len(&self) -> usize {
        self.meta_len().saturating_add(self.files.len())
    }

    fn unshown(&self) -> u64 {
        self.files.refused_count()
    }

    fn find(&self, path: &str) -> Option<usize> {
        let mut names = path.splitn(3, '/');
        let (first, table, file) = (names.next()?, names.next(), names.next());
        let (Some(table), Some(file)) = (table, file) else {
            return self.files.meta().iter().position(|meta| meta.file.name() == path);
        };
        let (index, name) = match file.split_once('/') {
            Some((index, name)) => (Some(index), name),
            None => (None, file),
        };
        let table = (first, table);
        let row = search(self.starts.len(), |row| {
            let found = self.files.table_at(row)?;
            Some((found.keyspace().as_str(), found.directory().as_str()).cmp(&table))
        })?;
        let found_table = self.files.table_at(row)?;
        let file = (index.unwrap_or_default(), name);
        let at = search(found_table.files().len(), |at| {
            let found = found_table.nth_file(at)?;
            Some((found.index().unwrap_or_default(), found.name()).cmp(&file))
        })?;
        self.starts.get(row)?.checked_add(at)?.checked_add(self.meta_len())
    }

    fn at(&self, place: usize) -> Option<(String, Wanted)> {
        if let Some(meta) = self.files.meta().get(place) {
            let (key, size) = (meta.key.clone(), meta.size);
            let wanted = Wanted { key, size, md5: None, may_be_written_anew: false };
            return Some((meta.file.name().to_owned(), wanted));
        }
        let at = place.checked_sub(self.meta_len())?;
        let row = self.starts.partition_point(|start| *start <= at).checked_sub(1)?;
        let table = self.files.table_at(row)?;
        let file = table.nth_file(at.checked_sub(*self.starts.get(row)?)?)?;
        let path = format!("{}/{}/{}", table.keyspace(), table.directory(), file.path());
        Some((path, wanted(file)))
    }
}

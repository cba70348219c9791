//! The stored files of one directory, by number.

use std::sync::Arc;

use crate::catalog::FileRef;
use crate::catalog::NodeFiles;
use crate::catalog::TableRef;

use super::FilesDirectory;

/// The files of a table, or of one of its secondary indexes: sorted by name, and told by their
/// place in that order. Holds the manifest.
#[derive(Debug, Clone)]
pub struct FilesView {
    files: Arc<NodeFiles>,
    directory: FilesDirectory,
}

impl FilesView {
    /// The files of `directory`; none if the manifest has no such table or index.
    pub fn of(files: &Arc<NodeFiles>, directory: &FilesDirectory) -> Option<Self> {
        let view = Self { files: Arc::clone(files), directory: directory.clone() };
        let table = view.table()?;
        (directory.index.is_none() || table.len_in(view.index()) > 0).then_some(view)
    }

    /// The directory.
    pub fn directory(&self) -> &FilesDirectory {
        &self.directory
    }

    /// How many files there are.
    pub fn len(&self) -> u32 {
        let len = self.table().map_or(0, |table| table.len_in(self.index()));
        u32::try_from(len).unwrap_or(u32::MAX)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The file at a place.
    pub fn at(&self, place: u32) -> Option<FileRef<'_>> {
        self.table()?.file_at(self.index(), usize::try_from(place).ok()?)
    }

    /// The place of the file of that name.
    pub fn place(&self, name: &str) -> Option<u32> {
        u32::try_from(self.table()?.place(self.index(), name)?).ok()
    }

    /// The directories of the secondary indexes, if this is a table's.
    pub fn indexes(&self) -> Vec<String> {
        if self.directory.index.is_some() {
            return Vec::new();
        }
        self.table().into_iter().flat_map(TableRef::indexes).map(str::to_owned).collect()
    }

    fn table(&self) -> Option<TableRef<'_>> {
        self.files.table(self.directory.keyspace.as_str(), self.directory.table.as_str())
    }

    fn index(&self) -> Option<&str> {
        self.directory.index.as_deref()
    }
}

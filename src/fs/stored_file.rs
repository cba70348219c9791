//! From an inode to the stored file that it is.

use crate::catalog::FileRef;
use crate::view::FilesDirectory;
use crate::view::FilesView;
use crate::view::Ino;
use crate::view::Tree;
use crate::view::ViewPath;

use super::FsError;
use super::MedusaFs;

impl MedusaFs {
    /// The stored file of an inode, which was last found at `place` of `directory`.
    ///
    /// Backups share files, and the one through which a file was found last may be purged while
    /// another's dentries keep the inode: then any manifest in memory that names the file will do.
    pub(super) async fn stored_file(
        &self,
        ino: Ino,
        directory: &ViewPath,
        place: u32,
    ) -> Result<(FilesView, u32), FsError> {
        let gone = || FsError::Stale(format!("{directory} has other files now"));
        let ViewPath::Files(files) = directory else { return Err(gone()) };
        let found = self.files_in(directory, files).await.and_then(|files| {
            let key = files.at(place).ok_or_else(gone)?.key();
            if self.inodes.file_number(&key) == ino { Ok(files) } else { Err(gone()) }
        });
        match found {
            Ok(files) => Ok((files, place)),
            Err(error) => self.found_elsewhere(ino, files).ok_or(error),
        }
    }

    async fn files_in(
        &self,
        directory: &ViewPath,
        files: &FilesDirectory,
    ) -> Result<FilesView, FsError> {
        let world = self.world();
        let loaded = self.load(&world, directory).await?;
        let gone = || FsError::Stale(format!("{directory} has gone"));
        Tree::new(&world, &loaded).files(files).ok_or_else(gone)
    }

    /// The same file in another backup of the node. From memory.
    fn found_elsewhere(&self, ino: Ino, was: &FilesDirectory) -> Option<(FilesView, u32)> {
        let backups = self.catalog.backups();
        for backup in backups.newest_first() {
            let node = &was.of.node;
            let Some(files) = self.catalog.node_files_cached(&backup.name, node) else { continue };
            let mut directory = was.clone();
            directory.of.backup = backup.name.clone();
            let Some(view) = FilesView::of(&files, &directory) else { continue };
            let is_it = |place: &u32| {
                let key = view.at(*place).map(FileRef::key);
                key.is_some_and(|key| self.inodes.file_number(&key) == ino)
            };
            if let Some(place) = (0..view.len()).find(is_it) {
                self.inodes.move_file(ino, &ViewPath::Files(directory), place);
                return Some((view, place));
            }
        }
        None
    }
}

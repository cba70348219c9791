//! The backup as it lies on the share, read from the node.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use md5::{Digest, Md5 as Hasher};

use super::order::{BackupFile, Contents, Order};
use super::source::{Source, Sources};
use crate::catalog::{Catalog, CatalogSettings};
use crate::medusa::{Layout, MetaFile};
use crate::model::{BackupName, Fqdn, Md5, ObjectKey};
use crate::store::Store;

type Failed = Box<dyn Error + Send + Sync>;

/// Backups on the share that this node sees.
#[derive(Debug, Clone, Copy, Default)]
pub struct OnTheShare;

impl Sources for OnTheShare {
    fn of(&self, order: &Order) -> Result<Arc<dyn Source>, Failed> {
        let store = Store::open(&order.store)?;
        let layout = Layout::new(order.prefix.as_deref())?;
        let catalog = Catalog::new(store, layout, CatalogSettings::default());
        let (backup, node) = (order.backup.clone(), order.node.clone());
        Ok(Arc::new(Stored { catalog, backup, node }))
    }
}

#[derive(Debug)]
struct Stored {
    catalog: Catalog,
    backup: BackupName,
    node: Fqdn,
}

impl Stored {
    fn manifest_md5(&self) -> Result<Md5, Failed> {
        let meta = self.catalog.meta_directly(&self.backup, &self.node)?;
        let manifest = meta.iter().find(|object| object.file == MetaFile::Manifest);
        let manifest = manifest.ok_or("this node has not finished the backup")?;
        let (mut file, mut hasher) = (self.catalog.open(&manifest.key)?, Hasher::new());
        let mut buffer = vec![0; 1 << 16];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(Md5(hasher.finalize().into())),
                read => hasher.update(buffer.get(..read).unwrap_or_default()),
            }
        }
    }
}

impl Source for Stored {
    fn contents(&self) -> Result<(Md5, Contents), Failed> {
        let before = self.manifest_md5()?;
        let files = self.catalog.node_files_directly(&self.backup, &self.node)?;
        if files.refused_count() > 0 {
            let first = files.refused().first().map_or("", |refused| &refused.path);
            let count = files.refused_count();
            return Err(format!(
                "its manifest has {count} entries that cannot be restored, such as {first:?}"
            )
            .into());
        }
        let mut contents = Contents::default();
        for table in files.tables() {
            let (keyspace, directory) = (table.keyspace(), table.directory());
            contents.tables.push((keyspace.clone(), directory.clone()));
            for file in table.files() {
                contents.files.push(BackupFile {
                    keyspace: keyspace.clone(),
                    table: directory.clone(),
                    name: ObjectKey::parse(&file.path())?,
                    key: file.key(),
                    size: file.size(),
                    md5: file.md5(),
                    may_be_written_anew: file.may_be_written_anew(),
                });
            }
        }
        if self.manifest_md5()? != before {
            return Err("its manifest changed while it was read".into());
        }
        Ok((before, contents))
    }

    /// One listing a directory: a share gives the sizes in it together.
    fn written_anew(&self, contents: &Contents) -> Result<u64, Failed> {
        let mut recorded = BTreeMap::<ObjectKey, BTreeMap<&str, u64>>::new();
        for file in contents.files.iter().filter(|file| file.may_be_written_anew) {
            if let Some(directory) = file.key.parent() {
                recorded.entry(directory).or_default().insert(file.key.file_name(), file.size);
            }
        }
        let mut count = 0_u64;
        for (directory, recorded) in recorded {
            for entry in self.catalog.store().list(Some(&directory))? {
                // One that is empty is damaged.
                let (size, stored) = (recorded.get(&*entry.name), entry.stat.size);
                count += u64::from(stored > 0 && size.is_some_and(|size| *size != stored));
            }
        }
        Ok(count)
    }

    fn open(&self, key: &ObjectKey) -> Result<File, Failed> {
        Ok(self.catalog.open(key)?)
    }
}

//! Which keyspaces and tables there are, over all backups: by the names of the store's own
//! directories, so that no manifest is read for a list.

use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use parking_lot::Mutex;

use crate::catalog::Backups;
use crate::catalog::Catalog;
use crate::medusa::Mode;
use crate::model::Keyspace;
use crate::model::ObjectKey;
use crate::model::TableDirectory;
use crate::store::EntryKind;
use crate::store::StoreError;
use crate::view::Tables;

use super::FsError;
use super::MedusaFs;

/// A list that is older is made anew when somebody looks.
const FRESH: Duration = Duration::from_mins(1);

/// For how long a first look waits; what is found later is shown to the next.
const PATIENCE: Duration = Duration::from_millis(900);

/// The list, as it was last made.
#[derive(Debug, Default)]
pub(super) struct KnownTables {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    tables: Arc<Tables>,
    /// When the last look began.
    looked: Option<Instant>,
}

impl KnownTables {
    /// The list as far as it is known.
    pub(super) fn known(&self) -> Arc<Tables> {
        Arc::clone(&self.state.lock().tables)
    }

    /// True once for each time that a look is due.
    fn is_due(&self) -> bool {
        let mut state = self.state.lock();
        let due = state.looked.is_none_or(|at| at.elapsed() >= FRESH);
        if due {
            state.looked = Some(Instant::now());
        }
        due
    }

    /// The next look is due at once: backups have come or gone.
    pub(super) fn expire(&self) {
        self.state.lock().looked = None;
    }
}

impl MedusaFs {
    /// Makes the list anew if it is old.
    pub(super) async fn know_tables(&self) {
        if !self.tables.is_due() {
            return;
        }
        let (catalog, state) = (self.catalog.clone(), Arc::clone(&self.tables.state));
        let look = move || -> Result<(), StoreError> {
            let found = find(&catalog)?;
            state.lock().tables = Arc::new(found);
            Ok(())
        };
        let looked = self.pool.run(PATIENCE, "for the names of tables", look).await;
        if let Err(error) = looked.map_err(FsError::from).and_then(|found| Ok(found?)) {
            tracing::warn!(%error, "the list of tables is as it was before");
        }
    }
}

/// A pool for each node, and the own directory of each full backup.
fn find(catalog: &Catalog) -> Result<Tables, StoreError> {
    let (layout, backups) = (catalog.layout(), catalog.backups());
    let mut tables = Tables::new();
    for node in backups.nodes() {
        if let Ok(pool) = layout.pool(node) {
            add(catalog, &pool, &mut tables)?;
        }
    }
    for own in full_backups(catalog, &backups) {
        add(catalog, &own, &mut tables)?;
    }
    Ok(tables)
}

fn full_backups(catalog: &Catalog, backups: &Backups) -> Vec<ObjectKey> {
    let data = |name, node| catalog.layout().node_backup(node, name).ok()?.join("data").ok();
    backups
        .iter()
        .flat_map(|backup| backup.nodes.iter().map(move |(node, part)| (backup, node, part)))
        .filter(|(_, _, part)| part.mode == Mode::Full)
        .filter_map(|(backup, node, _)| data(&backup.name, node))
        .collect()
}

fn add(catalog: &Catalog, data: &ObjectKey, tables: &mut Tables) -> Result<(), StoreError> {
    for keyspace in directories(catalog, data)? {
        let (Ok(name), Ok(below)) = (Keyspace::parse(&keyspace), data.join(&keyspace)) else {
            continue;
        };
        let known = tables.entry(name).or_default();
        for table in directories(catalog, &below)? {
            if let Ok(table) = TableDirectory::parse(&table) {
                known.insert(Arc::from(table.table()));
            }
        }
    }
    Ok(())
}

fn directories(catalog: &Catalog, of: &ObjectKey) -> Result<Vec<String>, StoreError> {
    match catalog.store().names(Some(of)) {
        Ok(names) => Ok(names
            .into_iter()
            // Hidden ones are medusafs's own, or a secondary index.
            .filter(|entry| entry.kind == EntryKind::Directory && !entry.name.starts_with('.'))
            .map(|entry| entry.name)
            .collect()),
        Err(error) if error.is_retryable() => Err(error),
        Err(_none) => Ok(Vec::new()),
    }
}

//! Which keyspaces and tables there are, over all backups: by the names of the store's own
//! directories, so that no manifest is read for a list.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;
use tokio::sync::OwnedMutexGuard;

use crate::catalog::Backup;
use crate::catalog::Backups;
use crate::catalog::Catalog;
use crate::catalog::NodeBackup;
use crate::medusa::Mode;
use crate::model::BackupName;
use crate::model::Fqdn;
use crate::model::Keyspace;
use crate::model::ObjectKey;
use crate::model::TableDirectory;
use crate::model::UnixSeconds;
use crate::store::EntryKind;
use crate::store::StoreError;
use crate::view::Tables;

use super::MedusaFs;
use super::in_time::CALL;

/// A list that is older is made anew when somebody looks.
const FRESH: Duration = Duration::from_mins(1);

/// For how long full backups are looked into at once; the next look goes on with the others.
const AT_ONCE: Duration = Duration::from_secs(5);

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
    /// Held while somebody looks.
    looking: Arc<AsyncMutex<Settled>>,
}

/// What full backups that have finished hold: it does not change. Many hold the same.
#[derive(Debug, Default)]
struct Settled {
    known: BTreeMap<Own, Arc<Tables>>,
}

/// A full backup of a node, and when it was begun and finished: another of the same name differs.
type Own = (BackupName, Fqdn, UnixSeconds, UnixSeconds);

impl Settled {
    /// Keeps what a backup holds, once for all that hold the same.
    fn keep(&mut self, own: Own, tables: Tables) {
        let same = self.known.values().rev().take(100).find(|known| ***known == tables);
        let tables = same.map_or_else(|| Arc::new(tables), Arc::clone);
        self.known.insert(own, tables);
    }
}

impl KnownTables {
    /// The list as far as it is known.
    pub(super) fn known(&self) -> Arc<Tables> {
        Arc::clone(&self.state.lock().tables)
    }

    /// Whose turn it is to look, once for each time that a look is due and nobody is at it.
    fn turn(&self) -> Option<OwnedMutexGuard<Settled>> {
        let mut state = self.state.lock();
        if state.looked.is_some_and(|at| at.elapsed() < FRESH) {
            return None;
        }
        let turn = Arc::clone(&state.looking).try_lock_owned().ok()?;
        state.looked = Some(Instant::now());
        Some(turn)
    }

    /// The next look is due at once: backups have come or gone.
    pub(super) fn expire(&self) {
        self.state.lock().looked = None;
    }
}

impl MedusaFs {
    /// Makes the list anew if it is old. What is found too late for a call is shown to the next.
    pub(super) async fn know_tables(&self) {
        let Some(mut turn) = self.tables.turn() else { return };
        let (catalog, state) = (self.catalog.clone(), Arc::clone(&self.tables.state));
        let look = move || -> Result<(), StoreError> {
            let (found, is_all) = find(&catalog, &mut turn)?;
            let mut state = state.lock();
            state.tables = Arc::new(found);
            if !is_all {
                state.looked = None;
            }
            Ok(())
        };
        let looking = self.on_share("for the names of tables".to_owned(), look);
        // It goes on alone if nobody waits for it.
        if let Ok(Err(error)) = tokio::time::timeout(CALL, looking).await {
            tracing::warn!(%error, "the list of tables is as it was before");
        }
    }
}

/// A pool for each node, and the own directory of each full backup; false if some are left.
fn find(catalog: &Catalog, settled: &mut Settled) -> Result<(Tables, bool), StoreError> {
    let (layout, backups) = (catalog.layout(), catalog.backups());
    let mut tables = Tables::new();
    for node in backups.nodes() {
        if let Ok(pool) = layout.pool(node) {
            add(catalog, &pool, &mut tables)?;
        }
    }
    let (begun, mut is_all) = (Instant::now(), true);
    let mut before = std::mem::take(&mut settled.known);
    for (backup, node, part) in full_backups(&backups) {
        let data = layout.node_backup(node, &backup.name).and_then(|own| own.join("data"));
        let Ok(data) = data else { continue };
        let own = part.finished.map(|at| (backup.name.clone(), node.clone(), part.started, at));
        if let Some((own, known)) = own.as_ref().and_then(|own| before.remove_entry(own)) {
            merge(&mut tables, &known);
            settled.known.insert(own, known);
            continue;
        }
        if begun.elapsed() > AT_ONCE {
            is_all = false;
            continue;
        }
        let mut found = Tables::new();
        add(catalog, &data, &mut found)?;
        merge(&mut tables, &found);
        if let Some(own) = own {
            settled.keep(own, found);
        }
    }
    Ok((tables, is_all))
}

fn full_backups(backups: &Backups) -> impl Iterator<Item = (&Backup, &Fqdn, &NodeBackup)> {
    let parts = backups
        .iter()
        .flat_map(|backup| backup.nodes.iter().map(move |(node, part)| (&**backup, node, part)));
    parts.filter(|(_, _, part)| part.mode == Mode::Full)
}

fn merge(tables: &mut Tables, more: &Tables) {
    for (keyspace, names) in more {
        tables.entry(keyspace.clone()).or_default().extend(names.iter().map(Arc::clone));
    }
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

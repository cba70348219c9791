//! Which backups there are, and what is in them.
//!
//! [`Catalog::refresh`] reads the index: names of files, no contents. [`Catalog::find_unindexed`]
//! adds what the index has lost. [`Catalog::deepen`] then looks into the backups, newest first, and
//! says which are complete. All three talk to the share and may hang with it; [`Catalog::backups`]
//! and [`Catalog::node_files_cached`] answer from memory.
//!
//! Nothing here writes to Medusa's part of the store, and nothing in it is believed: what is
//! half-written, foreign or hostile makes one backup incomplete or one file unreadable, no more.

mod backups;
mod browse;
mod check;
mod damage;
mod entry;
mod error;
mod examine;
mod facts_cache;
mod files_cache;
mod index_scan;
mod manifest_facts;
mod node_files;
mod node_files_builder;
mod reason;
mod state;
mod unindexed;

pub use backups::{Backup, Backups, Completeness, NodeBackup};
pub use browse::{Catalog, CatalogSettings, Deepened, Depth};
pub use check::OpenedFile;
pub use damage::{Damage, DamageKind};
pub use error::CatalogError;
pub use node_files::{FileRef, MetaObject, NodeFiles, TableRef};
pub use node_files_builder::{Refusal, RefusalKind};
pub use reason::Reason;

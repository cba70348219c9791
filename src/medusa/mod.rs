#![doc = include_str!("FORMAT.md")]
// Everything here reads bytes that somebody else wrote.
#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod error;
mod index;
mod json;
mod layout;
mod manifest;
mod manifest_writer;
mod node_backup;
mod schema;
mod server_version;
mod tokenmap;

pub use error::FormatError;
pub use index::{IndexEntry, IndexFile};
pub use layout::{Layout, LayoutError, MetaFile, Place};
#[cfg(test)]
pub use manifest::Manifest;
pub use manifest::{MANIFEST_LIMIT, ManifestVisitor, RecordedHash, read_manifest};
pub use manifest_writer::ManifestWriter;
pub use node_backup::{MODE_MARKERS, Mode, NodeTimes, TimeSources};
pub use schema::keyspaces_with_tables;
pub use server_version::ServerVersion;
pub use tokenmap::{TOKENMAP_LIMIT, Tokenmap, TokenmapNode};

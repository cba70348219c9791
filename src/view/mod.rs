//! The tree one sees, as data.

mod control_file;
mod path;

pub use control_file::{Access, ControlFile};
pub use path::{
    Area, FilesDirectory, MetaFile, Mode, NodeBackupId, Owner, Side, StagedId, ViewPath,
};

//! The tree one sees, as data.

mod attr;
pub mod control;
mod control_file;
mod files_view;
mod inode;
mod path;
mod readme;
mod report;
mod reports;
mod status;
mod tree;
mod world;

pub use attr::{Attr, Kind, LINKS_OF_STORED, Rights};
pub use control_file::{Access, ControlFile};
pub use files_view::FilesView;
pub use inode::{Bytes, Ino, Inodes, Known, ROOT};
pub use path::{
    Area, FilesDirectory, NodeBackupId, Owner, Side, StagedId, ViewPath, mode_directory,
};
pub use readme::README;
pub use report::{NodeReport, Report, State, Wait};
pub use status::{Surroundings, status};
pub use tree::{CONTROL, Child, Loaded, Tree};
pub use world::{Asked, Tables, World};

//! The restore of one node, as done on the node: stage, fence, stop, swap, start; and all of it
//! backwards.

use super::limit::Limit;
use super::mount::Mount;
use super::source::Source as LiveFile;

mod assign;
mod bring;
mod daemon;
mod disk;
mod engine;
mod error;
mod fence;
mod keep;
mod listener;
mod live;
mod lock;
mod node_journal;
mod obstacles;
mod order;
mod places;
mod plan;
mod process;
mod proof;
pub mod protocol;
mod report;
mod session;
mod source;
mod space;
mod stage;
mod staged;
mod startup_log;
mod statistics;
mod stored;
mod swap;
mod sweeping;

pub use daemon::Daemon;
pub use disk::{Disk, LocalDisk, Owner};
pub use engine::Tools;
pub use error::RestoreError;
pub(super) use fence::path as fence_path;
pub use listener::Listener;
pub use live::{LiveCassandra, directories};
pub use order::{BackupFile, Contents, Job, Order, OtherKeyspaces, Site};
pub use places::{Directories, Folder};
pub use process::Process;
pub(super) use process::configuration;
pub(super) use report::of_node as reports;
pub use session::RestoreSession;
pub use source::{Source, Sources};
pub use stored::OnTheShare;

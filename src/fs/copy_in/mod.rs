//! Copying into `restore/`: calls become events of a [`Set`](crate::staging::Set), its verdicts
//! become errors, and a set that is whole becomes a job.
//!
//! What the rules are, [`semantics`](super::semantics) says.

mod answers;
mod calls;
mod contents;
mod copies;
mod desk;
mod follow;
mod journal;
mod keeper;
mod recall;
mod shelf;
mod shown;
mod steps;
mod work;

use super::Caller;
use super::CopyIn;
use super::CopySource;
use super::FsError;
use super::SetAttributes;
use super::SetView;
use super::StagedEntry;
use super::StagedHandle;
use super::StagedKind;
use super::StagedParent;
use super::in_time;
use super::read::read_at;

pub use contents::SnapshotFiles;
pub use copies::{Copies, CopyParts};
pub use journal::JournalError;
pub use shelf::{Share, Stored};
pub use work::{RestoreOrder, RestoreWork};

//! What the calls mean, without a kernel.

mod answer;
mod begun;
mod believe;
mod by_jobs;
mod caller;
mod change;
pub mod copy_in;
mod doing;
mod errno;
mod error;
mod facts;
mod handles;
mod in_time;
mod listing;
mod looking_only;
mod lookup;
mod medusa_fs;
mod mkdir;
mod open;
mod read;
mod refresh;
mod refusals;
mod restore_by_jobs;
pub mod semantics;
mod staged;
mod stat;
mod stored_file;
mod tables;
mod tell;
mod texts;
mod wait;

pub use answer::{
    Believe, Created, Found, LookedUp, Opened, OpenedDirectory, Reading, Stale, Statfs,
};
pub use by_jobs::ByJobs;
pub use caller::Caller;
pub use doing::{BackupOrder, Doing, JobTable, JobText};
pub use error::FsError;
pub use handles::Handle;
pub use listing::{TakeEntry, TakeName};
pub use looking_only::LookingOnly;
pub use medusa_fs::{BackupBy, FsParts, FsSettings, MedusaFs};
pub use staged::{
    CopyIn, CopySource, SetAttributes, SetView, StagedEntry, StagedHandle, StagedKind,
    StagedParent, StoredSource,
};

//! What the calls mean, without a kernel.

mod caller;
pub mod copy_in;
mod errno;
mod error;
mod staged;

pub use caller::Caller;
pub use error::FsError;
pub use staged::{
    CopyIn, CopySource, SetAttributes, SetView, StagedEntry, StagedHandle, StagedKind,
    StagedParent, StoredSource,
};

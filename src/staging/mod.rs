//! What a copy into `restore/` means. Pure.
//!
//! A tool that copies has no way to say "done", and a timer proves nothing. So a [`Set`] takes what
//! tools do (make, write, copy a range, link, rename, close, remove) and works out which stored
//! object each file is. It is whole when every file of one snapshot's manifest is there and proven,
//! and no file of it is open for writing.
//!
//! No call here reads anything. Where a verdict takes stored bytes, the answer is a [`Need`]: the
//! caller finds it out, tells the set with [`Set::learn`], and asks again. No bytes are kept: a
//! file that is written is hashed as it comes, or compared range by range.

mod calls;
mod candidates;
mod content;
mod draft;
mod error;
mod extents;
mod facts;
mod judge;
mod names;
mod record;
mod set;
mod snapshot;
mod tree;

pub use content::{Content, Wanted};
pub use error::{Kind, Refusal};
pub use facts::{Asked, Fact, Need};
pub use record::Record;
pub use set::{Entry, EntryKind, Lacking, Report, Set, State};
pub use snapshot::{Contents, Listing, METADATA, SnapshotId, Source};
pub use tree::FileId;

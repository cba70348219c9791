//! The words of the field, validated once, at the door: names, keys, sizes, times, tokens, jobs.
//!
//! Nothing here does I/O, and nothing above checks one of these again.

mod digest;
mod job;
mod name;
mod object_key;
mod size;
mod time;
mod token;

pub use digest::{Md5, Md5ParseError};
pub use job::{
    Cause, JobId, JobKind, JobState, JobStatus, NodeStatus, Outcome, Phase, Progress,
    STATUS_VERSION,
};
pub use name::{BackupName, Fqdn, Keyspace, NameError, NewBackupNameError, TableDirectory};
pub use object_key::{ObjectKey, ObjectKeyError};
pub use size::{ByteSize, SizeParseError};
pub use time::{Clock, HandClock, SystemClock, UnixSeconds};
pub use token::Token;

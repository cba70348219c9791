//! The share: a directory tree that is opened only below its root.
//!
//! Everything here blocks for as long as the share takes, which may be for ever: callers that must
//! not wait go through a [`BlockingPool`]. Every path is an [`ObjectKey`](crate::model::ObjectKey),
//! resolved by the kernel below a descriptor of the root, without following any link. What is no
//! ordinary file is never read. Nothing is overwritten unless the call's name says so.
//!
//! On NFS a reply may be lost and the call be sent again, so that a rename that succeeded reports
//! that its source is gone or its target exists. Each call that changes names therefore looks
//! whether what it finds is what it wanted, before it reports an error.

mod deadline;
mod entry;
mod error;
mod lease;
mod lease_holding;
mod lease_record;
mod put;
mod remove;
mod root;

pub use deadline::{BlockingPool, PoolError, PoolLimits};
pub use entry::{Entry, EntryKind, EntryName, Space, Stat};
pub use error::{Kind, StoreError};
pub use lease::{LEASE_TERM, LeaseError, LeaseName, Leases};
pub use lease_holding::Lease;
pub use lease_record::{Holder, Owner};
pub use put::Draft;
pub use root::Store;

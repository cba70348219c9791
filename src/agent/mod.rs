//! What runs on one Cassandra node for the length of a job.
//!
//! The other side of the wire lives one floor up, in `cluster`: it starts `medusafs agent` over
//! SSH and speaks [`protocol`] with it. The words of the wire are plain data and do no I/O.

mod ask_nodetool;
mod backup_lock;
mod backup_protocol;
mod conversation;
mod copy;
mod error;
mod facts;
mod facts_protocol;
mod fault;
#[cfg(test)]
mod fixture;
mod held_name;
mod known;
mod limit;
mod lines;
mod mount;
mod own_name;
mod place;
pub mod protocol;
mod publish;
mod record;
pub mod restore;
mod restore_side;
mod reuse;
mod serve;
mod session;
mod share;
mod snapshot;
mod snapshot_files;
mod source;
mod task;
mod upload;
mod workers;

pub use serve::{Ended, serve};
pub use share::nonces_on;

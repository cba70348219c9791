//! What runs on one Cassandra node for the length of a job.
//!
//! The other side of the wire lives one floor up, in `cluster`: it starts `medusafs agent` over
//! SSH and speaks [`protocol`] with it. The words of the wire are plain data and do no I/O.

mod backup_protocol;
mod conversation;
mod copy;
mod error;
mod facts_protocol;
mod fault;
#[cfg(test)]
mod fixture;
mod known;
mod limit;
mod lines;
mod place;
pub mod protocol;
#[cfg_attr(not(test), expect(dead_code, reason = "the session that is served comes next"))]
mod publish;
mod record;
pub mod restore;
mod reuse;
#[cfg_attr(not(test), expect(dead_code, reason = "the session that is served comes next"))]
mod serve;
mod snapshot_files;
mod source;
#[cfg_attr(not(test), expect(dead_code, reason = "the session that is served comes next"))]
mod task;
#[cfg_attr(not(test), expect(dead_code, reason = "the session that is served comes next"))]
mod upload;
mod workers;

pub use lines::Lines;
pub use serve::Ended;

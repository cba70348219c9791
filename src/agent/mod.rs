//! What runs on one Cassandra node for the length of a job.
//!
//! The other side of the wire lives one floor up, in `cluster`: it starts `medusafs agent` over
//! SSH and speaks [`protocol`] with it. The words of the wire are plain data and do no I/O.

mod backup_protocol;
mod conversation;
mod facts_protocol;
mod fault;
#[cfg_attr(not(test), expect(dead_code, reason = "the session that is served comes next"))]
mod limit;
mod lines;
pub mod protocol;
pub mod restore;
#[cfg_attr(not(test), expect(dead_code, reason = "the session that is served comes next"))]
mod reuse;
#[cfg_attr(not(test), expect(dead_code, reason = "the session that is served comes next"))]
mod serve;
#[cfg_attr(not(test), expect(dead_code, reason = "the session that is served comes next"))]
mod source;
#[cfg_attr(not(test), expect(dead_code, reason = "the session that is served comes next"))]
mod task;

pub use lines::Lines;
pub use serve::Ended;

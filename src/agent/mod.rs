//! What runs on one Cassandra node for the length of a job.
//!
//! The other side of the wire lives one floor up, in `cluster`: it starts `medusafs agent` over
//! SSH and speaks [`protocol`] with it. The words of the wire are plain data and do no I/O.

mod backup_protocol;
mod conversation;
mod facts_protocol;
mod fault;
pub mod protocol;
mod restore_protocol;

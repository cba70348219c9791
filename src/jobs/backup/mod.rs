//! A backup: `check snapshot copy clear publish`, one node's failure not undoing the others.
//!
//! Nothing is in Medusa's index before all bytes of a node are on the share, the snapshots are
//! cleared and the ring has been looked at again. So a backup that is killed leaves bytes that
//! nobody names, and never one that looks whole.

mod agents;
mod members;
mod publish;
mod recover;
mod run;
mod settle;
mod snapshot;
mod upload;
mod withdraw;

pub(super) use recover::recover;
pub(super) use run::run;

use super::context::Context;
use super::job_error::JobError;
use super::{BackupRequest, Record, lease, survey};

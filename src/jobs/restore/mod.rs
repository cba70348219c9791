//! The restore of a node in place: `plan stage stop place start check clean`.
//!
//! What stops, swaps and starts is the agent on the node, which finishes alone once Cassandra is
//! being stopped. This side plans, asks, waits, and looks from elsewhere whether the node is back.

mod begin;
mod finish;
mod hold;
mod plan;
mod plan_text;
mod recover;
mod second_look;
mod snapshot;
mod stand;
mod take_back;
mod witness;

use std::time::Duration;

pub(super) use begin::run;
pub(super) use recover::recover;
pub(super) use stand::can_be_cancelled;

use super::context::Context;
use super::control::Wish;
use super::job_error::JobError;
use super::{Record, RestoreRequest, lease, survey};

/// How often the node, and others about it, are asked how far it is.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// How long the node's own steps may take.
struct StepLimits {
    drain: Duration,
    stop: Duration,
    start: Duration,
}

const STEP_LIMITS: StepLimits = StepLimits {
    drain: Duration::from_mins(2),
    stop: Duration::from_mins(5),
    start: Duration::from_mins(15),
};

//! `medusafs job FOLDER`: a job's own process; `medusafs agent`: what it pushes to a node.

use std::path::Path;
use std::sync::Arc;

use crate::cluster::AGENT_FILE;
use crate::jobs::{JobProcess, Jobs, JobsError, run_job};
use crate::model::{Outcome, SystemClock};
use crate::observe::{LogTo, start_log};

use super::args::environment;
use super::settings::{host_name, program};
use super::{Exit, Failure};

/// Does a job to its end.
pub(super) async fn job(folder: &Path) -> Result<(), Failure> {
    // Whoever asked may close his terminal, or be a mount that is taken away.
    if let Err(errno) = nix::unistd::setsid() {
        tracing::debug!(%errno, "already a session of its own");
    }
    let failed = |error: JobsError| Failure::of(Exit::Unwished, &error);
    let folder = Jobs::folder_at(folder).map_err(failed)?;
    start_log(LogTo::Stderr, "warn");
    let process = JobProcess {
        folder,
        program: program()?,
        environment: environment(),
        host_name: host_name(),
        clock: Arc::new(SystemClock),
    };
    match run_job(process).await {
        Ok(state) if state.outcome() == Some(Outcome::Wished) => Ok(()),
        // Its folder says why; standard error is its log.
        Ok(_) => Err(Failure::told(Exit::Unwished)),
        // Of two that were started at once, the other does it.
        Err(JobsError::Taken(_)) => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// Serves a job over standard input and output until it ends.
///
/// The caller ends the process without waiting for threads: one may hang on the share.
pub(super) async fn agent() -> Result<(), Failure> {
    start_log(LogTo::Stderr, "warn");
    remove_pushed_file();
    let ended = crate::agent::serve(tokio::io::stdin(), tokio::io::stdout()).await;
    match ended.exit_status() {
        0 => Ok(()),
        _ => Err(Failure::new(Exit::Unwished, format!("the conversation ended: {ended:?}"))),
    }
}

/// Removes the file that this agent was started from, if it is one that a job has pushed: nothing
/// is left on the node, also where the job dies this very moment. One that another job has put in
/// its place meanwhile is that job's: the system then tells another name of ours.
fn remove_pushed_file() {
    let Ok(own) = std::env::current_exe() else { return };
    if own.file_name().is_some_and(|name| name == AGENT_FILE)
        && let Err(error) = std::fs::remove_file(&own)
    {
        tracing::warn!(file = %own.display(), %error, "the agent's file stays");
    }
}

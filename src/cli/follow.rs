//! Waits for a job, showing how far it is: a line that changes for a person, a line a minute for
//! a log.

use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};

use crate::jobs::Jobs;
use crate::model::{Cause, Clock, JobId, JobState, JobStatus, Outcome, SystemClock};
use crate::view::{Report, control};

use super::{Exit, Failure, Output};

const LOOK_EVERY: Duration = Duration::from_millis(300);

/// A process that has just been started needs a moment to take its job.
const DEAD_AFTER: Duration = Duration::from_secs(5);

/// A process that ends so often before it can write why will not do better.
const RESTARTS: u32 = 3;

/// A job needs a moment to show that it has heard what was said to it.
const HEARD_WITHIN: Duration = Duration::from_secs(2);

const LINE_EVERY: Duration = Duration::from_mins(1);

/// Waits until the job has ended as wished.
///
/// # Errors
///
/// With the job's own words if it ended otherwise: exit 4 if somebody else has the cluster, 3 if
/// what it needs could not be reached, else 1. Exit 1 too if it is held, or if a person ends the
/// waiting, which the job does not notice.
pub(super) async fn follow(jobs: &Jobs, id: &JobId, output: Output) -> Result<JobStatus, Failure> {
    let folder = jobs.folder(id).map_err(|error| Failure::of(Exit::Unwished, &error))?;
    let mut interrupted =
        signal(SignalKind::interrupt()).map_err(|error| Failure::of(Exit::Unwished, &error))?;
    let (mut seen_alive, mut restarts) = (Instant::now(), 0_u32);
    let mut seen_moving = Instant::now();
    let mut shown = Shown { output, last: None, line: String::new() };
    loop {
        let status = folder.status().map_err(|error| Failure::of(Exit::Unwished, &error))?;
        if status.state != JobState::Held || folder.control().is_answered() {
            seen_moving = Instant::now();
        } else if seen_moving.elapsed() >= HEARD_WITHIN {
            shown.clear();
            return Err(held(&folder.text("plan"), &status));
        }
        match status.state.outcome() {
            Some(Outcome::Wished) => {
                shown.clear();
                return Ok(status);
            }
            Some(Outcome::Unwished) => {
                shown.clear();
                let exit = match status.cause {
                    Some(Cause::Busy) => Exit::Busy,
                    Some(Cause::Unreachable) => Exit::Unreachable,
                    None => Exit::Unwished,
                };
                let text = format!("{} {}: {}", status.kind, status.state, status.error);
                return Err(Failure::new(exit, text));
            }
            None => {}
        }
        if folder.is_alive() {
            seen_alive = Instant::now();
        } else if seen_alive.elapsed() >= DEAD_AFTER {
            // Whoever sees a dead job starts its recovery.
            if restarts == RESTARTS {
                return Err(Failure::new(Exit::Unwished, format!("job {id} ends at once"))
                    .hint(format!("{} says why", folder.path().join("log").display())));
            }
            restarts += 1;
            seen_alive = Instant::now();
            jobs.start(&folder).map_err(|error| Failure::of(Exit::Unwished, &error))?;
        }
        shown.progress(&status);
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = interrupted.recv() => {
                shown.clear();
                return Err(Failure::new(Exit::Unwished, format!("job {id} goes on"))
                    .hint(format!("`medusafs jobs` shows it, `medusafs cancel {id}` takes it back")));
            }
        }
    }
}

fn held(plan: &str, status: &JobStatus) -> Failure {
    let (exit, why) = match status.cause {
        Some(Cause::Busy) => (Exit::Busy, status.error.lines().next().unwrap_or(plan)),
        Some(Cause::Unreachable) | None => (Exit::Unwished, plan),
    };
    Failure::new(exit, format!("the restore is held:\n{why}")).hint(format!(
        "`medusafs restore {} --node {} --accept ID` with the plan's ID does it; \
         `medusafs cancel {}` takes it back",
        status.backup,
        status.node.as_ref().map_or("NODE", |node| node.as_str()),
        status.id
    ))
}

struct Shown {
    output: Output,
    last: Option<Instant>,
    line: String,
}

impl Shown {
    fn progress(&mut self, status: &JobStatus) {
        let report = Report::of_job(status);
        if self.output.is_watched() {
            let line = control::wait_news(&report);
            if line != self.line {
                self.output.over(&line);
                self.line = line;
            }
        } else if self.last.is_none_or(|last| last.elapsed() >= LINE_EVERY) {
            self.output.remark(control::wait_line(&report, SystemClock.now()));
            self.last = Some(Instant::now());
        }
    }

    fn clear(&mut self) {
        if !self.line.is_empty() {
            self.output.over("");
            self.line.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BackupName, JobKind, Phase, Progress, STATUS_VERSION, UnixSeconds};

    #[test]
    fn a_restore_that_is_held_for_another_host_s_job_is_busy() {
        let held = |error: &str, cause| {
            held(
                "the plan\n",
                &JobStatus {
                    version: STATUS_VERSION,
                    id: JobId::parse("j").unwrap(),
                    kind: JobKind::Restore,
                    backup: BackupName::parse("nightly").unwrap(),
                    node: None,
                    state: JobState::Held,
                    phase: Phase::Plan,
                    progress: Progress::default(),
                    bytes_per_second: None,
                    eta_seconds: None,
                    started: UnixSeconds(0),
                    finished: None,
                    unique_bytes: None,
                    nodes: Vec::new(),
                    error: error.to_owned(),
                    withdrawn: false,
                    cause,
                },
            )
        };
        let busy = held("busy: backup b on host h; wait\nread `plan`", Some(Cause::Busy));
        assert_eq!(busy.exit, Exit::Busy);
        assert!(busy.message.contains("host h") && !busy.message.contains("the plan"), "{busy}");
        let plain = held("restore = manual\nread `plan`", None);
        assert!(plain.exit == Exit::Unwished && plain.message.contains("the plan"), "{plain}");
    }
}

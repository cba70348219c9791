//! Restores as this host does them: a job for each.

use std::sync::Arc;

use tokio::sync::watch;

use crate::jobs::AskedBy;
use crate::jobs::Folder;
use crate::jobs::RestoreRequest;
use crate::jobs::Work;
use crate::model::JobId;
use crate::model::JobKind;
use crate::model::JobState;
use crate::model::JobStatus;
use crate::model::Phase;
use crate::model::UnixSeconds;

use super::ByJobs;
use super::Doing;
use super::FsError;
use super::by_jobs::failed;
use super::copy_in::RestoreOrder;
use super::copy_in::RestoreWork;

/// Whether a restore has begun to stop its node.
fn has_stopped(folder: &Folder) -> Result<bool, FsError> {
    let status = folder.status().map_err(failed("cannot read how far the restore is"))?;
    let stops = matches!(status.phase, Phase::Stop | Phase::Place | Phase::Start)
        || matches!(status.state, JobState::Stopping | JobState::Placing | JobState::Starting);
    Ok(status.kind == JobKind::Restore && stops && status.state.outcome().is_none())
}

/// Whether `word` names the plan that is shown.
fn accepted(job: &JobId, word: &str, plan: &str) -> Result<(), FsError> {
    let id = plan.lines().last().and_then(|line| line.strip_prefix("plan "));
    if id.map(str::trim) == Some(word) {
        return Ok(());
    }
    Err(FsError::Stale(format!(
        "{word:?} is not the ID of the plan of {job}: read `plan` again, whose last line has it"
    )))
}

fn too_late(job: &JobId) -> FsError {
    FsError::Busy(format!(
        "Cassandra is being stopped for job {job}, which goes on to its end; after that \
         `medusafs undo {job}` puts back what was there"
    ))
}

fn in_words(job: &JobStatus) -> String {
    format!("the {} of {} is at work (job {}, {})", job.kind, job.backup, job.id, job.state)
}

impl ByJobs {
    /// A job of this host that is at work. One that is held has nothing in hand.
    fn at_work(&self) -> Option<JobStatus> {
        let at_work =
            |job: &&JobStatus| job.state.outcome().is_none() && job.state != JobState::Held;
        self.table.borrow().iter().find(at_work).cloned()
    }
}

impl RestoreWork for ByJobs {
    fn jobs(&self) -> watch::Receiver<Arc<Vec<JobStatus>>> {
        self.table.subscribe()
    }

    fn begin_restore(&self, order: &RestoreOrder) -> Result<JobId, FsError> {
        // What was begun this moment counts.
        self.look();
        let mut hold = order.hold.clone();
        hold.extend(self.at_work().map(|job| {
            format!("when the copy was whole, {}: wait until it has ended", in_words(&job))
        }));
        let work = Work::Restore(RestoreRequest {
            node: order.target.clone(),
            backup: order.source.backup.clone(),
            source: order.source.node.clone(),
            complete_since: order.last_file_at,
            hold,
            accept: None,
            dry_run: false,
        });
        let asked_by = AskedBy { uid: order.uid, pid: order.pid, program: order.program.clone() };
        let begun = self.jobs.begin(&work, &asked_by, &self.config);
        let job = begun.map_err(failed("cannot begin a restore"))?;
        self.look();
        Ok(job)
    }

    fn is_touched(&self, job: &JobId) -> Result<(), FsError> {
        let doing = format!("cannot hold back {job}");
        let folder = self.jobs.folder(job).map_err(failed(&doing))?;
        // First said, then looked: the job shows that it stops the node, then looks whether this
        // was said. So one of the two always sees the other.
        folder.control().touch().map_err(failed(&doing))?;
        if has_stopped(&folder)? { Err(too_late(job)) } else { Ok(()) }
    }

    fn is_settled(&self, job: &JobId, since: UnixSeconds) -> Result<(), FsError> {
        let doing = format!("cannot let {job} go on");
        let folder = self.jobs.folder(job).map_err(failed(&doing))?;
        folder.control().settle(since).map_err(failed(&doing))
    }

    fn cancel(&self, job: &JobId, why: &str) -> Result<(), FsError> {
        let folder = self.jobs.folder(job).map_err(failed("cannot look at the restore"))?;
        if has_stopped(&folder)? {
            return Err(too_late(job));
        }
        Doing::cancel(self, job, why)?;
        if !has_stopped(&folder)? {
            return Ok(());
        }
        // Whoever takes the job up after a crash must not find what was refused.
        folder.control().forget_cancel();
        Err(too_late(job))
    }

    fn commit(&self, job: &JobId, word: &str) -> Result<(), FsError> {
        let doing = format!("cannot accept the plan of {job}");
        let folder = self.jobs.folder(job).map_err(failed(&doing))?;
        let status = folder.status().map_err(failed(&doing))?;
        match (status.state, word) {
            (JobState::Staging | JobState::Waiting, "now") => {}
            (JobState::Held, "now") => {
                return Err(FsError::Invalid(format!(
                    "{job} is held: `error` says why; only its plan's ID, the last line of `plan`, \
                     begins it"
                )));
            }
            (JobState::Held, _) => {
                accepted(job, word, &folder.text("plan"))?;
                if let Some(other) = self.at_work() {
                    let busy = format!("{}: wait until it has ended", in_words(&other));
                    return Err(FsError::Busy(busy));
                }
            }
            (JobState::Pending, _) => {
                return Err(FsError::Busy(format!(
                    "the plan of {job} is just being worked out: try again in a moment"
                )));
            }
            (state, "now") => {
                return Err(FsError::Invalid(format!("{job} is {state}: no hold time runs")));
            }
            (state, _) => {
                return Err(FsError::Stale(format!(
                    "{job} is {state}, and waits for no plan to be accepted"
                )));
            }
        }
        folder.control().commit(word).map_err(failed(&doing))
    }

    fn undo(&self, job: &JobId) -> Result<(), FsError> {
        let doing = format!("cannot undo {job}");
        let folder = self.jobs.folder(job).map_err(failed(&doing))?;
        if folder.is_alive() {
            return Err(FsError::Busy(format!(
                "the process of job {job} is still there: try again when it has ended"
            )));
        }
        folder.control().undo().map_err(failed(&doing))?;
        self.jobs.reopen(&folder).map_err(failed(&doing))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::jobs::ConfigFrom;
    use crate::jobs::Jobs;
    use crate::medusa::Mode;
    use crate::model::BackupName;
    use crate::model::Fqdn;
    use crate::model::HandClock;
    use crate::staging::SnapshotId;

    /// Jobs whose processes do nothing.
    fn by_jobs(state_dir: &std::path::Path) -> ByJobs {
        let clock = Arc::new(HandClock::at(UnixSeconds(1_795_364_040)));
        let program = PathBuf::from("/bin/true");
        let jobs = Jobs::open(state_dir, program, Arc::<HandClock>::clone(&clock));
        let config = ConfigFrom { medusa_ini: PathBuf::from("/medusa.ini"), options: Vec::new() };
        ByJobs::new(jobs, config, Mode::Full, clock)
    }

    fn order(node: &str) -> RestoreOrder {
        let node = Fqdn::parse(node).unwrap();
        RestoreOrder {
            target: node.clone(),
            source: SnapshotId { backup: BackupName::parse("nightly").unwrap(), node },
            uid: 0,
            pid: 1,
            program: "cp".to_owned(),
            last_file_at: UnixSeconds(0),
            hold: Vec::new(),
        }
    }

    fn moves_to(doing: &ByJobs, job: &JobId, state: JobState) {
        let folder = doing.jobs.folder(job).unwrap();
        let status = JobStatus { state, ..folder.status().unwrap() };
        folder.write_status(&status).unwrap();
        doing.look();
    }

    fn holds(doing: &ByJobs, job: &JobId) -> Vec<String> {
        match doing.jobs.folder(job).unwrap().request().unwrap().work {
            Work::Restore(request) => request.hold,
            Work::Backup(_) => unreachable!("it is a restore"),
        }
    }

    #[test]
    fn a_restore_is_held_for_whatever_else_is_at_work_on_this_host() {
        let state = tempfile::tempdir().unwrap();
        let doing = by_jobs(state.path());
        let first = doing.begin_restore(&order("n1")).unwrap();
        assert!(holds(&doing, &first).is_empty());
        let second = doing.begin_restore(&order("n2")).unwrap();
        let why = holds(&doing, &second);
        assert!(why[0].contains(first.as_str()), "{why:?}");
        // One that is held has nothing in hand, and what has ended neither.
        moves_to(&doing, &first, JobState::Failed);
        moves_to(&doing, &second, JobState::Held);
        let third = doing.begin_restore(&order("n3")).unwrap();
        assert!(holds(&doing, &third).is_empty());
        // Nor is its plan accepted while something else is at work.
        doing.jobs.folder(&second).unwrap().write_text("plan", "x\nplan abc\n").unwrap();
        assert!(matches!(doing.commit(&second, "abc"), Err(FsError::Busy(_))));
        moves_to(&doing, &third, JobState::Done);
        doing.commit(&second, "abc").unwrap();
    }

    #[test]
    fn a_cancel_that_is_refused_as_too_late_leaves_nothing_behind() {
        let state = tempfile::tempdir().unwrap();
        let doing = by_jobs(state.path());
        let job = doing.begin_restore(&order("n1")).unwrap();
        moves_to(&doing, &job, JobState::Stopping);
        let control = doing.jobs.folder(&job).unwrap().control();
        assert!(matches!(RestoreWork::cancel(&doing, &job, "why"), Err(FsError::Busy(_))));
        assert_eq!(control.cancelled(), None);
        moves_to(&doing, &job, JobState::Waiting);
        RestoreWork::cancel(&doing, &job, "why").unwrap();
        assert_eq!(control.cancelled().as_deref(), Some("why"));
    }

    #[test]
    fn nothing_is_undone_while_the_process_of_the_job_is_there() {
        let state = tempfile::tempdir().unwrap();
        let doing = by_jobs(state.path());
        let job = doing.begin_restore(&order("n1")).unwrap();
        moves_to(&doing, &job, JobState::Done);
        let folder = doing.jobs.folder(&job).unwrap();
        let held = folder.hold().unwrap();
        assert!(matches!(doing.undo(&job), Err(FsError::Busy(_))));
        let wish = folder.path().join("control/wish");
        assert!(!wish.exists());
        drop(held);
        doing.undo(&job).unwrap();
        assert_eq!(std::fs::read_to_string(wish).unwrap(), "undo");
    }

    #[test]
    fn a_plan_is_accepted_by_its_id_and_by_nothing_else() {
        let state = tempfile::tempdir().unwrap();
        let doing = by_jobs(state.path());
        let job = doing.begin_restore(&order("n1")).unwrap();
        assert!(matches!(doing.commit(&job, "now"), Err(FsError::Busy(_))));
        let folder = doing.jobs.folder(&job).unwrap();
        folder.write_text("plan", "plan of a restore\nplan 5f2e\n").unwrap();
        moves_to(&doing, &job, JobState::Held);
        assert!(matches!(doing.commit(&job, "WRONG"), Err(FsError::Stale(_))));
        assert!(matches!(doing.commit(&job, "of a restore"), Err(FsError::Stale(_))));
        assert!(matches!(doing.commit(&job, "now"), Err(FsError::Invalid(_))));
        assert_eq!(folder.control().take_commit(), None);
        doing.commit(&job, "5f2e").unwrap();
        assert_eq!(folder.control().take_commit().as_deref(), Some("5f2e"));
        moves_to(&doing, &job, JobState::Waiting);
        assert!(matches!(doing.commit(&job, "5f2e"), Err(FsError::Stale(_))));
        doing.commit(&job, "now").unwrap();
        moves_to(&doing, &job, JobState::Done);
        assert!(matches!(doing.commit(&job, "now"), Err(FsError::Invalid(_))));
    }
}

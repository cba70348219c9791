//! Restores as this host does them: a job for each.

use std::sync::Arc;

use tokio::sync::watch;

use crate::jobs::AskedBy;
use crate::jobs::Folder;
use crate::jobs::JobsError;
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
use super::copy_in::RestoreOrder;
use super::copy_in::RestoreWork;

fn failed(doing: &str) -> impl FnOnce(JobsError) -> FsError {
    let doing = doing.to_owned();
    move |error| FsError::failed(doing, error)
}

/// Whether a restore has begun to stop its node.
fn has_stopped(folder: &Folder) -> Result<bool, FsError> {
    let status = folder.status().map_err(failed("cannot read how far the restore is"))?;
    let stops = matches!(status.phase, Phase::Stop | Phase::Place | Phase::Start)
        || matches!(status.state, JobState::Stopping | JobState::Placing | JobState::Starting);
    Ok(status.kind == JobKind::Restore && stops && status.state.outcome().is_none())
}

fn too_late(job: &JobId) -> FsError {
    FsError::Busy(format!(
        "Cassandra is being stopped for job {job}, which goes on to its end; after that \
         `medusafs undo {job}` puts back what was there"
    ))
}

impl ByJobs {
    /// A job of this host that has not ended and that a restore would wait for. One that is held
    /// has nothing in hand.
    fn in_the_way_of(&self, work: &Work) -> Option<JobStatus> {
        let table = self.table.borrow();
        let at_work =
            |job: &&JobStatus| job.state.outcome().is_none() && job.state != JobState::Held;
        table.iter().find(at_work).filter(|_| work.kind() == JobKind::Restore).cloned()
    }
}

impl RestoreWork for ByJobs {
    fn jobs(&self) -> watch::Receiver<Arc<Vec<JobStatus>>> {
        self.table.subscribe()
    }

    fn begin_restore(&self, order: &RestoreOrder) -> Result<JobId, FsError> {
        let work = Work::Restore(RestoreRequest {
            node: order.target.clone(),
            backup: order.source.backup.clone(),
            source: order.source.node.clone(),
            complete_since: order.last_file_at,
            hold: order.hold.clone(),
            accept: None,
            dry_run: false,
        });
        if let Some(busy) = self.in_the_way_of(&work) {
            return Err(FsError::Busy(format!(
                "the {} of {} is at work (job {}, {})",
                busy.kind, busy.backup, busy.id, busy.state
            )));
        }
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
        Doing::cancel(self, job, why)?;
        let folder = self.jobs.folder(job).map_err(failed("cannot look at the restore"))?;
        if has_stopped(&folder)? { Err(too_late(job)) } else { Ok(()) }
    }

    fn commit(&self, job: &JobId, word: &str) -> Result<(), FsError> {
        let doing = format!("cannot accept the plan of {job}");
        let folder = self.jobs.folder(job).map_err(failed(&doing))?;
        folder.control().commit(word).map_err(failed(&doing))
    }

    fn undo(&self, job: &JobId) -> Result<(), FsError> {
        let doing = format!("cannot undo {job}");
        let folder = self.jobs.folder(job).map_err(failed(&doing))?;
        if folder.is_alive() {
            return Err(FsError::Busy(format!("job {job} is being done")));
        }
        folder.control().undo().map_err(failed(&doing))?;
        self.jobs.reopen(&folder).map_err(failed(&doing))
    }
}

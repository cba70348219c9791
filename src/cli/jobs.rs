//! `medusafs jobs`, `cancel`, `resume`, `undo`: work of this host, by its id.

use std::time::Duration;

use crate::jobs::{Folder, Jobs};
use crate::model::{JobId, JobKind, JobState, JobStatus, Phase};

use super::follow::follow;
use super::settings::Settings;
use super::{ConfigArgs, Exit, Failure, Output};

/// A process that has written its job's end has nothing more to wait for.
const GONE_WITHIN: Duration = Duration::from_secs(10);

/// Looking whether a process lives takes no time.
const LOOKED_AT_WITHIN: Duration = Duration::from_millis(500);

const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Lists the jobs, newest last; recovers those whose process is gone.
pub(super) fn list(config: &ConfigArgs, json: bool, output: Output) -> Result<(), Failure> {
    let settings = Settings::load(config, output)?;
    let jobs = settings.jobs()?;
    for id in jobs.recover().map_err(|error| Failure::of(Exit::Unwished, &error))? {
        output.remark(format!("job {id} had no process any more: its recovery has begun"));
    }
    let table = jobs.table().map_err(|error| Failure::of(Exit::Unwished, &error))?;
    if json {
        return output.json(&table);
    }
    for job in table {
        let percent = percent(&job).map_or_else(|| "-".to_owned(), |percent| format!("{percent}%"));
        let error = job.error.lines().next().unwrap_or("");
        output.line(format!("{}\t{}\t{}\t{percent}\t{error}", job.id, job.state, job.phase))?;
    }
    Ok(())
}

fn percent(job: &JobStatus) -> Option<u64> {
    job.progress.bytes_done.saturating_mul(100).checked_div(job.progress.bytes_total?)
}

/// Asks a job to take everything back, and waits until it has.
pub(super) async fn cancel(config: &ConfigArgs, job: &str, output: Output) -> Result<(), Failure> {
    let settings = Settings::load(config, output)?;
    let (jobs, folder, status) = find(&settings, job)?;
    if status.state.outcome().is_some() {
        return Err(Failure::new(Exit::Usage, format!("job {job} has ended: {}", status.state)));
    }
    if status.kind == JobKind::Restore
        && matches!(status.phase, Phase::Stop | Phase::Place | Phase::Start)
    {
        return Err(Failure::new(
            Exit::Busy,
            format!("job {job} has begun to stop Cassandra, and goes on to its end"),
        )
        .hint(format!("then `medusafs undo {job}` puts back what was there")));
    }
    folder
        .control()
        .cancel("by `medusafs cancel`")
        .map_err(|error| Failure::of(Exit::Unwished, &error))?;
    match follow(&jobs, folder.id(), output).await {
        Err(_) if folder.status().is_ok_and(|status| status.state == JobState::Cancelled) => {
            output.line(format!("job {job} is cancelled"))
        }
        Err(failure) => Err(failure),
        Ok(_) => Err(Failure::new(Exit::Unwished, format!("job {job} had ended before"))),
    }
}

/// Goes on with a job that was broken off.
pub(super) async fn resume(config: &ConfigArgs, job: &str, output: Output) -> Result<(), Failure> {
    let settings = Settings::load(config, output)?;
    again(find(&settings, job)?, output, |folder| folder.control().resume()).await
}

/// Puts back what a restore has set aside.
pub(super) async fn undo(config: &ConfigArgs, job: &str, output: Output) -> Result<(), Failure> {
    let settings = Settings::load(config, output)?;
    let found = find(&settings, job)?;
    let (_, _, status) = &found;
    if status.kind != JobKind::Restore {
        let what = format!("job {job} is a {}, which changes nothing on a node", status.kind);
        return Err(Failure::new(Exit::Usage, what)
            .hint("only a restore can be undone; `medusafs cancel` takes back what still runs"));
    }
    again(found, output, |folder| folder.control().undo()).await
}

async fn again(
    (jobs, folder, status): (Jobs, Folder, JobStatus),
    output: Output,
    wish: impl Fn(&Folder) -> Result<(), crate::jobs::JobsError>,
) -> Result<(), Failure> {
    let job = folder.id();
    if !is_left(&folder, &status).await {
        return Err(Failure::new(Exit::Busy, format!("job {job} is being done"))
            .hint("`medusafs jobs` shows how far it is"));
    }
    let failed = |error: crate::jobs::JobsError| Failure::of(Exit::Unwished, &error);
    wish(&folder).map_err(failed)?;
    jobs.reopen(&folder).map_err(failed)?;
    let ended = follow(&jobs, folder.id(), output).await?;
    output.line(format!("job {job}: {}", ended.state))
}

/// Whether no process does the job, or none does soon: the process of a job that shows its end is
/// about to go, and whoever looks whether one lives (the mount, `medusafs jobs`) is taken for one
/// for a moment.
async fn is_left(folder: &Folder, status: &JobStatus) -> bool {
    let within = if status.state.outcome().is_some() { GONE_WITHIN } else { LOOKED_AT_WITHIN };
    let left = async {
        while folder.is_alive() {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    };
    tokio::time::timeout(within, left).await.is_ok()
}

fn find(settings: &Settings, job: &str) -> Result<(Jobs, Folder, JobStatus), Failure> {
    let id = JobId::parse(job).map_err(|error| Failure::of(Exit::Usage, &error))?;
    let jobs = settings.jobs()?;
    let folder = jobs.folder(&id).map_err(|error| Failure::of(Exit::Usage, &error))?;
    let status = folder.status().map_err(|error| Failure::of(Exit::Unwished, &error))?;
    Ok((jobs, folder, status))
}

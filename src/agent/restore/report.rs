//! Where a restore stands, in the words of the tree.

use super::error::RestoreError;
use super::fence;
use super::keep;
use super::live;
use super::node_journal::{Ending, NodeStep, Reached, Story};
use super::places::{Directories, Folder};
use super::protocol::JobReport;
use crate::cassandra::CassandraYaml;
use crate::model::{JobId, JobState, Phase};

fn of_step(step: NodeStep) -> (JobState, Phase) {
    match step {
        NodeStep::Stage => (JobState::Staging, Phase::Stage),
        NodeStep::Drain | NodeStep::Fence | NodeStep::Stop | NodeStep::Close => {
            (JobState::Stopping, Phase::Stop)
        }
        NodeStep::SetAside | NodeStep::Place | NodeStep::Return => {
            (JobState::Placing, Phase::Place)
        }
        NodeStep::Open | NodeStep::Start => (JobState::Starting, Phase::Start),
        NodeStep::Clean => (JobState::Starting, Phase::Clean),
    }
}

/// The report that a journal amounts to.
pub(super) fn of_story(story: &Story, folder: &Folder) -> JobReport {
    let standing = match (story.at, story.reached()) {
        (Some(step), _) => of_step(step),
        (None, _) if story.turned_back => (JobState::Stopping, Phase::Stop),
        (None, Reached::Nothing) => (JobState::Staging, Phase::Stage),
        (None, Reached::Staged) => (JobState::Waiting, Phase::Stage),
        (None, Reached::Stopped) => (JobState::Stopping, Phase::Stop),
        (None, Reached::Placed) => (JobState::Placing, Phase::Place),
        (None, Reached::Started) => (JobState::Starting, Phase::Check),
    };
    let (state, phase) = match story.ending {
        Some(Ending::Done) => (JobState::Done, Phase::Clean),
        Some(Ending::Undone) => (JobState::Undone, Phase::Clean),
        Some(Ending::Aborted) => (JobState::Cancelled, Phase::Clean),
        None if story.error.is_some() => (JobState::Failed, standing.1),
        None => standing,
    };
    let unsettled = story.ending.is_none() && (story.fenced || story.error.is_some());
    JobReport {
        job: story.job.clone(),
        state,
        phase,
        reached: story.reached(),
        at: story.at,
        error: story.error.clone(),
        when: story.last,
        fenced: story.fenced,
        kept_until: keep::kept_until(folder),
        remedy: unsettled.then(|| fence::remedy(&story.job)),
    }
}

/// The reports of all jobs that left a folder on the node. One whose journal cannot be read is in
/// it, as failed.
pub(super) fn all(directories: &Directories) -> Result<Vec<JobReport>, RestoreError> {
    let first = directories.first()?;
    let mut reports = Vec::new();
    for job in keep::jobs(first) {
        let folder = Folder::of(&job, first);
        match Story::read(&folder.journal()) {
            Ok(Some(story)) => reports.push(of_story(&story, &folder)),
            Ok(None) => {}
            Err(error) => reports.push(unreadable(job, first, &error)),
        }
    }
    Ok(reports)
}

/// The same for the node that `yaml` describes.
pub(in crate::agent) fn of_node(yaml: &CassandraYaml) -> Result<Vec<JobReport>, RestoreError> {
    let directories = live::directories(yaml);
    if directories.data.is_empty() { Ok(Vec::new()) } else { all(&directories) }
}

fn unreadable(job: JobId, first: &std::path::Path, error: &RestoreError) -> JobReport {
    JobReport {
        state: JobState::Failed,
        phase: Phase::Plan,
        reached: Reached::Nothing,
        at: None,
        error: Some(error.to_string()),
        when: crate::model::UnixSeconds(0),
        fenced: fence::path(first).exists(),
        kept_until: None,
        remedy: Some(fence::remedy(&job)),
        job,
    }
}

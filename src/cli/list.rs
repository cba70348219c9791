//! `medusafs list` and `medusafs status`: looking, without a cluster and without a mount.

use std::sync::Arc;

use serde::Serialize;

use crate::catalog::{Backup, Backups, Depth};
use crate::medusa::Mode;
use crate::model::{BackupName, Clock, JobStatus, SystemClock, UnixSeconds};
use crate::observe::ErrorChain;
use crate::view::{Report, Wait, World};

use super::settings::Settings;
use super::{ConfigArgs, Exit, Failure, Output};

/// A backup, for programs. Keys may be added, never renamed.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    mode: &'static str,
    state: String,
    started: i64,
    finished: Option<i64>,
    nodes: Vec<NodeRow>,
    files: Option<u64>,
    bytes: Option<u64>,
    reasons: Vec<String>,
}

/// A node of it.
#[derive(Debug, Serialize)]
struct NodeRow {
    name: String,
    started: i64,
    finished: Option<i64>,
    files: Option<u64>,
    bytes: Option<u64>,
}

/// The newest complete backup, and what runs on this host.
#[derive(Debug, Serialize)]
struct Overview<'a> {
    latest: Option<Row>,
    running: Vec<&'a JobStatus>,
}

impl Row {
    fn of(backup: &Backup, report: &Report) -> Self {
        let seconds = |time: UnixSeconds| time.0;
        let nodes = backup.nodes.iter().map(|(name, node)| NodeRow {
            name: name.to_string(),
            started: node.started.0,
            finished: node.finished.map(seconds),
            files: node.files,
            bytes: node.size.map(|size| size.0),
        });
        Self {
            name: backup.name.to_string(),
            mode: match backup.mode {
                Mode::Full => "full",
                Mode::Differential => "differential",
            },
            state: report.state().word(),
            started: backup.started.0,
            finished: backup.finished.map(seconds),
            nodes: nodes.collect(),
            files: backup.files(),
            bytes: backup.size().map(|size| size.0),
            reasons: report.error.lines().map(|line| line.trim().to_owned()).collect(),
        }
    }

    fn seen(world: &World, backup: &Backup) -> Self {
        Self::of(backup, &world.report_of_backup(&backup.name).unwrap_or_default())
    }
}

/// This host's jobs; none if they cannot be read, which is said: they may know of a backup what the
/// share does not tell.
fn jobs(settings: &Settings, output: Output) -> Result<Option<Vec<JobStatus>>, Failure> {
    let table = settings.jobs()?.table().inspect_err(|error| {
        let why = ErrorChain(error);
        output.remark(format!("{why}; what this host's jobs know of the backups is left out"));
    });
    Ok(table.ok())
}

/// What the mount would show of the same share and the same jobs.
fn world(backups: Arc<Backups>, jobs: Option<Vec<JobStatus>>) -> World {
    let now = SystemClock.now();
    let jobs = Arc::new(jobs.unwrap_or_default());
    World { backups, jobs, now, mounted: now, ..World::default() }
}

/// Lists the backups, oldest first: name, state, mode, start, end, nodes, size.
pub(super) fn list(config: &ConfigArgs, json: bool, output: Output) -> Result<(), Failure> {
    let settings = Settings::load(config, output)?;
    let jobs = jobs(&settings, output)?;
    let world = world(settings.catalog(Depth::All)?.backups(), jobs);
    let mut all = world.backups.newest_first();
    all.reverse();
    if json {
        let rows: Vec<_> = all.iter().map(|backup| Row::seen(&world, backup)).collect();
        return output.json(&rows);
    }
    for backup in all {
        let row = Row::seen(&world, backup);
        let finished = backup.finished.map_or_else(|| "-".to_owned(), |time| time.to_string());
        let size = backup.size().map_or_else(|| "-".to_owned(), |size| size.to_string());
        output.line(format!(
            "{}\t{}\t{}\t{}\t{finished}\t{} nodes\t{size}",
            row.name,
            row.state,
            row.mode,
            backup.started,
            row.nodes.len()
        ))?;
    }
    Ok(())
}

/// Shows one backup, or the newest complete one and what runs on this host.
pub(super) fn status(
    config: &ConfigArgs,
    json: bool,
    name: Option<&str>,
    output: Output,
) -> Result<(), Failure> {
    let settings = Settings::load(config, output)?;
    let Some(name) = name else {
        return overview(&settings, json, output);
    };
    let name = BackupName::parse(name).map_err(|error| Failure::of(Exit::Usage, &error))?;
    let jobs = jobs(&settings, output)?;
    let world = world(settings.examined(&name)?.backups(), jobs);
    let report = world.report_of_backup(&name);
    let (Some(backup), Some(report)) = (world.stored(&name), &report) else {
        return Err(not_stored(&name, report.as_ref()));
    };
    let row = Row::of(backup, report);
    if json {
        output.json(&row)?;
    } else {
        show(backup, &row, output)?;
    }
    match report.state().wait() {
        Wait::Wished => Ok(()),
        Wait::GoesOn | Wait::Unwished => {
            Err(Failure::new(Exit::Unwished, format!("{name} is {}", row.state)))
        }
    }
}

/// Of a backup that the share has nothing of: what a job of this host says, if one was to make it.
fn not_stored(name: &BackupName, report: Option<&Report>) -> Failure {
    let Some(report) = report else {
        return Failure::new(Exit::Unwished, format!("there is no backup {name}"))
            .hint("`medusafs list` shows those there are");
    };
    let state = report.state().word();
    let error = report.error.trim_end();
    let why = if error.is_empty() { String::new() } else { format!(": {error}") };
    Failure::new(Exit::Unwished, format!("{name} is {state}, and not on the share{why}"))
        .hint("`medusafs jobs` shows its job")
}

fn show(backup: &Backup, row: &Row, output: Output) -> Result<(), Failure> {
    output.line(format!("{}: {}, {}", row.name, row.state, row.mode))?;
    let finished = backup.finished.map_or_else(|| "not".to_owned(), |time| time.to_string());
    output.line(format!("  started {}, finished {finished}", backup.started))?;
    for (name, node) in &backup.nodes {
        let finished = node.finished.map_or_else(|| "not finished".to_owned(), |t| t.to_string());
        let size = node.size.map_or_else(|| "-".to_owned(), |size| size.to_string());
        let files = node.files.map_or_else(|| "-".to_owned(), |files| files.to_string());
        output.line(format!("  {name}: {finished}, {files} files, {size}"))?;
    }
    row.reasons.iter().try_for_each(|reason| output.line(format!("  {reason}")))
}

fn overview(settings: &Settings, json: bool, output: Output) -> Result<(), Failure> {
    let jobs = jobs(settings, output)?;
    let are_jobs_known = jobs.is_some();
    let catalog = settings.catalog(Depth::Latest)?;
    let mut world = world(catalog.backups(), jobs);
    // The newest that the share calls complete may be one that a job has found wanting.
    let mut are_more = true;
    while world.latest().is_none() && are_more {
        are_more = settings.deepen(&catalog, Depth::All)?;
        world.backups = catalog.backups();
    }
    let running: Vec<_> = world.jobs.iter().filter(|job| job.state.outcome().is_none()).collect();
    if json {
        let latest = world.latest().map(|backup| Row::seen(&world, backup));
        return output.json(&Overview { latest, running });
    }
    match world.latest() {
        Some(backup) => {
            output.line(format!("newest complete backup: {}, {}", backup.name, backup.started))?;
        }
        None => output.line("newest complete backup: none")?,
    }
    if running.is_empty() {
        let says = if are_jobs_known { "none runs on this host" } else { "not known" };
        output.line(format!("jobs: {says}"))?;
    }
    for job in running {
        output.line(format!("job {}: {}, {}", job.id, job.state, job.phase))?;
    }
    Ok(())
}

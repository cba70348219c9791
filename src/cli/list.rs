//! `medusafs list` and `medusafs status`: looking, without a cluster and without a mount.

use serde::Serialize;

use crate::catalog::{Backup, Backups, Completeness, Depth};
use crate::medusa::Mode;
use crate::model::{BackupName, JobStatus, UnixSeconds};

use super::settings::Settings;
use super::{ConfigArgs, Exit, Failure, Output};

/// A backup, for programs. Keys may be added, never renamed.
#[derive(Debug, Serialize)]
struct Row {
    name: String,
    mode: &'static str,
    state: &'static str,
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
    fn of(backup: &Backup) -> Self {
        let seconds = |time: UnixSeconds| time.0;
        let (state, mut reasons) = match &backup.state {
            Completeness::Unexamined => ("unexamined", Vec::new()),
            Completeness::Complete if backup.damage.is_empty() => ("complete", Vec::new()),
            Completeness::Complete => ("damaged", Vec::new()),
            Completeness::Incomplete(reasons) => {
                ("incomplete", reasons.iter().map(ToString::to_string).collect())
            }
        };
        reasons.extend(backup.damage.iter().map(ToString::to_string));
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
            state,
            started: backup.started.0,
            finished: backup.finished.map(seconds),
            nodes: nodes.collect(),
            files: backup.files(),
            bytes: backup.size().map(|size| size.0),
            reasons,
        }
    }
}

/// Lists the backups, oldest first: name, state, mode, start, end, nodes, size.
pub(super) fn list(config: &ConfigArgs, json: bool, output: Output) -> Result<(), Failure> {
    let settings = Settings::load(config, output)?;
    let backups = settings.catalog(Depth::All)?.backups();
    let mut all = backups.newest_first();
    all.reverse();
    if json {
        let rows: Vec<_> = all.iter().map(|backup| Row::of(backup)).collect();
        return output.json(&rows);
    }
    for backup in all {
        let row = Row::of(backup);
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
        return overview(&settings, &settings.catalog(Depth::Latest)?.backups(), json, output);
    };
    let name = BackupName::parse(name).map_err(|error| Failure::of(Exit::Usage, &error))?;
    let backups = settings.examined(&name)?.backups();
    let Some(backup) = backups.get(&name) else {
        return Err(Failure::new(Exit::Unwished, format!("there is no backup {name}"))
            .hint("`medusafs list` shows those there are"));
    };
    if json {
        output.json(&Row::of(backup))?;
    } else {
        show(backup, output)?;
    }
    if backup.is_good() {
        Ok(())
    } else {
        Err(Failure::new(Exit::Unwished, format!("{name} is {}", Row::of(backup).state)))
    }
}

fn show(backup: &Backup, output: Output) -> Result<(), Failure> {
    let row = Row::of(backup);
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

fn overview(
    settings: &Settings,
    backups: &Backups,
    json: bool,
    output: Output,
) -> Result<(), Failure> {
    let table = settings.jobs()?.table().map_err(|error| Failure::of(Exit::Unwished, &error))?;
    let running: Vec<_> = table.iter().filter(|job| job.state.outcome().is_none()).collect();
    if json {
        let latest = backups.latest().map(|backup| Row::of(backup));
        return output.json(&Overview { latest, running });
    }
    match backups.latest() {
        Some(backup) => {
            output.line(format!("newest complete backup: {}, {}", backup.name, backup.started))?;
        }
        None => output.line("newest complete backup: none")?,
    }
    if running.is_empty() {
        output.line("jobs: none runs on this host")?;
    }
    for job in running {
        output.line(format!("job {}: {}, {}", job.id, job.state, job.phase))?;
    }
    Ok(())
}

//! `medusafs backup` and `medusafs restore`: the same jobs as through the mount.

use crate::config::{BackupMode, BackupPolicy, RestorePolicy};
use crate::jobs::{BackupRequest, Jobs, JobsError, RestoreRequest, Work};
use crate::medusa::Mode;
use crate::model::{
    BackupName, Clock, Fqdn, JobId, JobKind, JobState, JobStatus, SystemClock, UnixSeconds,
};

use super::follow::follow;
use super::settings::{Settings, asked_by};
use super::{ConfigArgs, Exit, Failure, Output};

/// What was typed for a backup.
#[derive(Debug)]
pub(super) struct BackupArgs {
    pub(super) config: ConfigArgs,
    pub(super) full: bool,
    pub(super) node: Option<String>,
    pub(super) name: Option<String>,
}

/// Backs up and waits.
pub(super) async fn backup(args: BackupArgs, output: Output) -> Result<(), Failure> {
    let settings = Settings::load(&args.config, output)?;
    if settings.config.medusafs.backup == BackupPolicy::Off {
        return Err(Failure::new(Exit::Usage, "backup = off in the configuration"));
    }
    let now = SystemClock.now();
    let name = args.name.unwrap_or_else(|| now.format("%Y%m%d%H%M"));
    let name = BackupName::for_new(&name).map_err(|error| Failure::of(Exit::Usage, &error))?;
    let node = args.node.as_deref().map(parse_node).transpose()?;
    settings.must_have_cluster()?;
    settings.check_key()?;
    let catalog = settings.index()?;
    let backups = catalog.backups();
    let finishes = node.is_some() && backups.get(&name).is_some();
    let clash = match backups.get(&name) {
        Some(_) if finishes => None,
        Some(_) => Some(&name),
        None if settings.config.medusafs.medusa_writes_too => backups.clashing(&name),
        None => None,
    };
    if let Some(other) = clash {
        let why = if *other == name {
            format!("there is a backup {name} already")
        } else {
            format!(
                "{name} and the backup {other} begin alike: Medusa's purge would delete both; set \
                 medusa_writes_too = false in medusafs.ini if Medusa does not use this store"
            )
        };
        return Err(Failure::new(Exit::Usage, why));
    }
    if backups.nodes().any(|node| node.as_str() == name.as_str()) {
        return Err(Failure::new(Exit::Usage, format!("{name} is a node's name")));
    }
    let jobs = settings.jobs()?;
    let mode = match backups.get(&name).map(|stored| stored.mode) {
        _ if args.full => BackupMode::Full,
        // The node's part is like those of the others.
        Some(Mode::Full) => BackupMode::Full,
        Some(Mode::Differential) => BackupMode::Differential,
        None => settings.config.medusafs.mode,
    };
    let work = Work::Backup(BackupRequest {
        name: name.clone(),
        mode,
        node,
        no_snapshot_before: UnixSeconds(0),
    });
    let id = jobs
        .begin(&work, &asked_by(), &settings.from)
        .map_err(|error| Failure::of(Exit::Unwished, &error))?;
    let ended = follow(&jobs, &id, output).await?;
    let bytes = ended.progress.bytes_new;
    output.line(format!(
        "{name} complete: {} nodes, {} files, {}, of it new {}",
        ended.nodes.len(),
        ended.progress.files_done,
        crate::model::ByteSize(ended.progress.bytes_done),
        crate::model::ByteSize(bytes)
    ))
}

/// What was typed for a restore.
#[derive(Debug)]
pub(super) struct RestoreArgs {
    pub(super) config: ConfigArgs,
    pub(super) node: String,
    pub(super) dry_run: bool,
    pub(super) accept: Option<String>,
    pub(super) name: String,
}

/// Restores and waits.
pub(super) async fn restore(args: RestoreArgs, output: Output) -> Result<(), Failure> {
    let settings = Settings::load(&args.config, output)?;
    if settings.config.medusafs.restore == RestorePolicy::Off && !args.dry_run {
        return Err(Failure::new(Exit::Usage, "restore = off in the configuration"));
    }
    let node = parse_node(&args.node)?;
    let name = BackupName::parse(&args.name).map_err(|error| Failure::of(Exit::Usage, &error))?;
    settings.must_have_cluster()?;
    settings.check_key()?;
    let catalog = settings.index()?;
    let backups = catalog.backups();
    let has_node = backups.get(&name).is_some_and(|backup| backup.nodes.contains_key(&node));
    if !has_node {
        return Err(Failure::new(Exit::Usage, format!("no backup {name} has a node {node}"))
            .hint("`medusafs list` shows what there is"));
    }
    let jobs = settings.jobs()?;
    let held = match &args.accept {
        Some(plan) if !args.dry_run => accepted(&jobs, &node, &name, plan)?,
        _ => None,
    };
    let work = Work::Restore(RestoreRequest {
        source: node.clone(),
        node,
        backup: name,
        complete_since: SystemClock.now(),
        hold: Vec::new(),
        accept: args.accept,
        dry_run: args.dry_run,
    });
    let id = match held {
        Some(id) => id,
        None => jobs
            .begin(&work, &asked_by(), &settings.from)
            .map_err(|error| Failure::of(Exit::Unwished, &error))?,
    };
    let ended = follow(&jobs, &id, output).await;
    if args.dry_run {
        let folder = jobs.folder(&id).map_err(|error| Failure::of(Exit::Unwished, &error))?;
        output.text(&folder.text("plan"))?;
    }
    let ended = ended?;
    if !args.dry_run {
        let node = ended.node.as_ref().map_or("", |node| node.as_str());
        output.line(format!("{node} is restored from {} and Up", ended.backup))?;
        output.remark(format!(
            "what was there before is kept on the node: `medusafs undo {id}` puts it back"
        ));
    }
    Ok(())
}

/// Tells the restore that is held for this plan that it was accepted, and returns its job. None if
/// no such restore waits on this host: the plan is then made anew, and done if it is still the same.
fn accepted(
    jobs: &Jobs,
    node: &Fqdn,
    backup: &BackupName,
    plan: &str,
) -> Result<Option<JobId>, Failure> {
    let failed = |error: JobsError| Failure::of(Exit::Unwished, &error);
    let is_it = |job: &JobStatus| {
        job.kind == JobKind::Restore
            && job.state == JobState::Held
            && job.backup == *backup
            && job.node.as_ref() == Some(node)
    };
    for job in jobs.table().map_err(failed)?.into_iter().rev().filter(is_it) {
        let folder = jobs.folder(&job.id).map_err(failed)?;
        if folder.is_alive() {
            folder.control().commit(plan).map_err(failed)?;
            return Ok(Some(job.id));
        }
    }
    Ok(None)
}

fn parse_node(text: &str) -> Result<Fqdn, Failure> {
    Fqdn::parse(text).map_err(|error| Failure::of(Exit::Usage, &error))
}

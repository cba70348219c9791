//! What a job was asked to do: `request.json`.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::BackupMode;
use crate::model::{BackupName, Fqdn, JobId, JobKind, UnixSeconds};

/// Who asked, for the log and for the rights over what has been begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskedBy {
    /// The caller's user.
    pub uid: u32,
    /// The caller's process.
    pub pid: u32,
    /// Its program's name; empty if it had gone before we looked.
    pub program: String,
}

/// Where the job finds its configuration. It reads the files itself, so that no secret is here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigFrom {
    /// Medusa's file; `medusafs.ini` lies beside it.
    pub medusa_ini: PathBuf,
    /// Mount options, which stand above the files.
    pub options: Vec<(String, String)>,
}

/// A backup that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupRequest {
    /// Its name.
    pub name: BackupName,
    /// Full or differential.
    pub mode: BackupMode,
    /// The one node to back up; none for the whole cluster.
    pub node: Option<Fqdn>,
    /// The earliest moment to take a snapshot: until then it may be withdrawn without a trace.
    pub no_snapshot_before: UnixSeconds,
}

/// A restore that was asked for: one node, from one node's part of one backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreRequest {
    /// The node to restore.
    pub node: Fqdn,
    /// The backup to restore from.
    pub backup: BackupName,
    /// The node whose part of that backup it is: the same, in the plain case.
    pub source: Fqdn,
    /// When the last file of the set was in place; the hold time counts from here.
    pub complete_since: UnixSeconds,
    /// Why a person must accept the plan in any case, beyond what the plan itself finds: "asked for
    /// by a link", "medusafs was restarted since".
    pub hold: Vec<String>,
    /// A plan's ID that was accepted beforehand (`medusafs restore --accept`).
    pub accept: Option<String>,
    /// Only work out the plan.
    pub dry_run: bool,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Work {
    /// A backup.
    Backup(BackupRequest),
    /// A restore.
    Restore(RestoreRequest),
}

impl Work {
    /// Which kind of job this is.
    pub fn kind(&self) -> JobKind {
        match self {
            Self::Backup(_) => JobKind::Backup,
            Self::Restore(_) => JobKind::Restore,
        }
    }

    /// The backup that is written or restored.
    pub fn backup(&self) -> &BackupName {
        match self {
            Self::Backup(backup) => &backup.name,
            Self::Restore(restore) => &restore.backup,
        }
    }

    /// The one node that it is about, if it is about one.
    pub fn node(&self) -> Option<&Fqdn> {
        match self {
            Self::Backup(backup) => backup.node.as_ref(),
            Self::Restore(restore) => Some(&restore.node),
        }
    }

    /// What the job's id ends in.
    pub(super) fn about(&self) -> &str {
        match self {
            Self::Backup(backup) => backup.name.as_str(),
            Self::Restore(restore) => restore.node.as_str(),
        }
    }
}

/// A job as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRequest {
    /// The version of this file's form: 1.
    pub version: u32,
    /// The job.
    pub id: JobId,
    /// When it was asked for, by this host's clock.
    pub asked_at: UnixSeconds,
    /// Who asked.
    pub asked_by: AskedBy,
    /// Which configuration holds.
    pub config: ConfigFrom,
    /// What is to be done.
    pub work: Work,
}

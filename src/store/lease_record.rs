//! Who holds a lease, as it stands on the share.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::{JobId, UnixSeconds};

/// Who asks for a lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// The host's name.
    pub host: String,
    /// The process, on that host.
    pub pid: u32,
    /// The job that it works for.
    pub job: Option<JobId>,
    /// What it does, in a few words: "backup nightly".
    pub purpose: String,
}

impl fmt::Display for Owner {
    /// "backup nightly (job 2026…, process 12 on host1)".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (", self.purpose)?;
        if let Some(job) = &self.job {
            write!(f, "job {job}, ")?;
        }
        write!(f, "process {} on {})", self.pid, self.host)
    }
}

/// A lease that is held, as another sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// By whom; none if what stands there cannot be read.
    pub owner: Option<Owner>,
    /// Since when, by the share's clock.
    pub since: Option<UnixSeconds>,
    /// For how long it has not been renewed, by the share's clock.
    pub silent_for: Duration,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.owner {
            Some(owner) => owner.fmt(f)?,
            None => f.write_str("somebody who left no name")?,
        }
        if let Some(since) = self.since {
            write!(f, " since {since}")?;
        }
        write!(f, ", last heard of {} s ago", self.silent_for.as_secs())
    }
}

/// The most that is read of a record.
pub(super) const RECORD_LIMIT: u64 = 1 << 16;

/// What is written into a lease. A reader passes over keys that it does not know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// 1.
    pub(super) version: u32,
    pub(super) owner: Owner,
    pub(super) since: UnixSeconds,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_named_with_what_it_does_and_where() {
        let owner = Owner {
            host: "backup1".into(),
            pid: 12,
            job: Some(JobId::parse("20261122T161400Z-backup-nightly").unwrap()),
            purpose: "backup nightly".into(),
        };
        let holder = Holder {
            owner: Some(owner),
            since: Some(UnixSeconds(1_795_364_040)),
            silent_for: Duration::from_secs(3),
        };
        insta::assert_snapshot!(holder, @"backup nightly (job 20261122T161400Z-backup-nightly, process 12 on backup1) since 2026-11-22T16:14:00Z, last heard of 3 s ago");
    }
}

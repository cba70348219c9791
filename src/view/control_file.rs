//! The names of the control files, and which `.medusa/` has which.

use super::{Area, Owner};

/// A file in a `.medusa/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ControlFile {
    /// One word: where it stands.
    State,
    /// `key value` lines.
    Progress,
    /// A line for each node.
    Nodes,
    /// All of it for programs.
    StatusJson,
    /// What happened, line by line.
    Log,
    /// Why it failed or is held.
    Error,
    /// Reading it waits.
    Wait,
    /// What would be done.
    Plan,
    /// What a partial set lacks.
    Missing,
    /// When it was last verified, and how.
    Verified,
    /// Write `1`: take it back.
    Cancel,
    /// Write `1`: verify the backup.
    Verify,
    /// Write `1`: never purge it.
    Keep,
    /// Write `1`: put back what was set aside.
    Undo,
    /// Write a plan's ID.
    Commit,
    /// Write a backup's name: where an import's files come from.
    Source,
    /// `/.medusa/version`
    Version,
    /// `/.medusa/config`
    Config,
    /// `/.medusa/metrics`
    Metrics,
    /// `/.medusa/last_error`
    LastError,
    /// `/.medusa/cache`
    Cache,
}

/// Who may do what with a control file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// 0444: shows no data.
    Everybody,
    /// 0440.
    Readers,
    /// Written to; the rights are those of the verb.
    Verb,
}

impl ControlFile {
    const ALL: [Self; 21] = [
        Self::State,
        Self::Progress,
        Self::Nodes,
        Self::StatusJson,
        Self::Log,
        Self::Error,
        Self::Wait,
        Self::Plan,
        Self::Missing,
        Self::Verified,
        Self::Cancel,
        Self::Verify,
        Self::Keep,
        Self::Undo,
        Self::Commit,
        Self::Source,
        Self::Version,
        Self::Config,
        Self::Metrics,
        Self::LastError,
        Self::Cache,
    ];

    /// Those of a job's directory in `/.medusa/jobs`.
    pub const OF_A_JOB: [Self; 7] = [
        Self::Error,
        Self::Log,
        Self::Nodes,
        Self::Plan,
        Self::Progress,
        Self::State,
        Self::StatusJson,
    ];

    /// The file's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Progress => "progress",
            Self::Nodes => "nodes",
            Self::StatusJson => "status.json",
            Self::Log => "log",
            Self::Error => "error",
            Self::Wait => "wait",
            Self::Plan => "plan",
            Self::Missing => "missing",
            Self::Verified => "verified",
            Self::Cancel => "cancel",
            Self::Verify => "verify",
            Self::Keep => "keep",
            Self::Undo => "undo",
            Self::Commit => "commit",
            Self::Source => "source",
            Self::Version => "version",
            Self::Config => "config",
            Self::Metrics => "metrics",
            Self::LastError => "last_error",
            Self::Cache => "cache",
        }
    }

    /// The file of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|file| file.name() == name)
    }

    /// Who may do what with it.
    pub fn access(self) -> Access {
        match self {
            Self::Cancel | Self::Verify | Self::Keep | Self::Undo | Self::Commit | Self::Source => {
                Access::Verb
            }
            // `last_error` shows to each user his own.
            Self::Version | Self::Metrics | Self::LastError => Access::Everybody,
            Self::State
            | Self::Progress
            | Self::Nodes
            | Self::StatusJson
            | Self::Log
            | Self::Error
            | Self::Wait
            | Self::Plan
            | Self::Missing
            | Self::Verified
            | Self::Config
            | Self::Cache => Access::Readers,
        }
    }
}

impl Owner {
    /// The files of this `.medusa/`, by name.
    pub fn files(&self) -> &'static [ControlFile] {
        use ControlFile as F;
        match self {
            Self::Root => &[F::Cache, F::Config, F::LastError, F::Metrics, F::Version],
            Self::Backup(_) => &[
                F::Cancel,
                F::Error,
                F::Keep,
                F::Log,
                F::Nodes,
                F::Progress,
                F::State,
                F::StatusJson,
                F::Verified,
                F::Verify,
                F::Wait,
            ],
            Self::NodeBackup(_) => &[
                F::Cancel,
                F::Error,
                F::Log,
                F::Nodes,
                F::Progress,
                F::State,
                F::StatusJson,
                F::Verified,
                F::Verify,
                F::Wait,
            ],
            Self::Node(_) => {
                &[F::Error, F::Log, F::Nodes, F::Progress, F::State, F::StatusJson, F::Wait]
            }
            Self::Area(area) | Self::AreaNode(area, _) => Self::staging_files(*area),
            // Nothing is kept of what is copied into `import/` yet.
            Self::Staged(_) => Self::staging_files(Area::Restore),
        }
    }

    fn staging_files(area: Area) -> &'static [ControlFile] {
        use ControlFile as F;
        match area {
            Area::Restore => &[
                F::Cancel,
                F::Commit,
                F::Error,
                F::Log,
                F::Missing,
                F::Nodes,
                F::Plan,
                F::Progress,
                F::State,
                F::StatusJson,
                F::Undo,
                F::Wait,
            ],
            Area::Import => &[
                F::Cancel,
                F::Commit,
                F::Error,
                F::Log,
                F::Missing,
                F::Nodes,
                F::Plan,
                F::Progress,
                F::Source,
                F::State,
                F::StatusJson,
                F::Undo,
                F::Wait,
            ],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_imported_has_a_source() {
        let has_source = |owner: Owner| owner.files().contains(&ControlFile::Source);
        assert!(has_source(Owner::Area(Area::Import)));
        assert!(!has_source(Owner::Area(Area::Restore)));
        assert!(!has_source(Owner::Staged(crate::view::StagedId(1))));
    }

    #[test]
    fn every_control_file_is_found_by_its_name() {
        for file in ControlFile::ALL {
            assert_eq!(ControlFile::named(file.name()), Some(file));
        }
    }
}

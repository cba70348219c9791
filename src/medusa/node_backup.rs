//! What kind of backup a node has, and when it was made.

use std::fmt;

use crate::model::{ObjectKey, UnixSeconds};

/// Whether a backup has a copy of its own of each file.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Each file lies in the backup's own directory.
    Full,
    /// Files lie in the node's pool, shared with its other differential backups.
    Differential,
}

/// Names of the marker in `meta` that says differential: today's, and that of Medusa before 0.2.
pub const MODE_MARKERS: [&str; 2] = ["differential", "incremental"];

impl Mode {
    /// The mode by markers, of index or `meta`. They get lost (Medusa's `build-index` never
    /// rewrites them), so an object's key knows better: see [`Mode::of_object`].
    pub fn of_marker(marked: bool) -> Self {
        if marked { Self::Differential } else { Self::Full }
    }

    /// The mode of a backup that has an object at `key`, `node` being its node's directory.
    /// This alone cannot lie: the pool is where differential backups are.
    pub fn of_object(node: &ObjectKey, key: &ObjectKey) -> Self {
        Self::of_marker(key.below(node.as_str()).is_some_and(|rest| rest.starts_with("data/")))
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Differential => "differential",
        })
    }
}

/// Where the times of a node backup can come from, each as far as it is there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimeSources {
    /// The number in the name `started_…`.
    pub started_name: Option<UnixSeconds>,
    /// When the index's `schema_…` was last written.
    pub index_schema: Option<UnixSeconds>,
    /// When `meta/schema.cql` was last written; used for a backup that is not in the index.
    pub meta_schema: Option<UnixSeconds>,
    /// The number in the name `finished_…`.
    pub finished_name: Option<UnixSeconds>,
    /// When the index's `manifest_…` was last written.
    pub index_manifest: Option<UnixSeconds>,
    /// When `meta/manifest.json` was last written.
    pub meta_manifest: Option<UnixSeconds>,
}

/// When a node backup was begun and finished, by the share's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeTimes {
    /// None if nothing tells: Medusa does not list such a backup.
    pub started: Option<UnixSeconds>,
    /// None if it has not finished.
    pub finished: Option<UnixSeconds>,
}

impl TimeSources {
    /// Medusa's order of belief: names of the index, times of the index, times of `meta`.
    pub fn times(self) -> NodeTimes {
        NodeTimes {
            started: self.started_name.or(self.index_schema).or(self.meta_schema),
            finished: self.finished_name.or(self.index_manifest).or(self.meta_manifest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_the_index_is_believed_before_any_file_s_time() {
        let at = |seconds| Some(UnixSeconds(seconds));
        let mut sources = TimeSources {
            started_name: at(1),
            index_schema: at(2),
            finished_name: at(3),
            index_manifest: at(4),
            meta_manifest: at(5),
            meta_schema: at(6),
        };
        assert_eq!(sources.times(), NodeTimes { started: at(1), finished: at(3) });
        (sources.started_name, sources.finished_name) = (None, None);
        assert_eq!(sources.times(), NodeTimes { started: at(2), finished: at(4) });
        (sources.index_schema, sources.index_manifest) = (None, None);
        assert_eq!(sources.times(), NodeTimes { started: at(6), finished: at(5) });
    }

    #[test]
    fn a_file_in_the_pool_makes_a_backup_differential_whatever_its_markers_say() {
        let key = |path: &str| ObjectKey::parse(path).unwrap();
        let mode = |path: &str| Mode::of_object(&key("p/n"), &key(path));
        assert_eq!(mode("p/n/data/k/t/f"), Mode::Differential);
        assert_eq!(mode("p/n/b1/data/k/t/f"), Mode::Full);
        assert_eq!(mode("p/n/data2/data/k/t/f"), Mode::Full);
    }
}

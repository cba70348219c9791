//! What is written down of a set, so that a mount which was killed finds it again.

use serde::{Deserialize, Serialize};

use super::content::Content;
use super::snapshot::SnapshotId;

/// One line of a set's journal. Applied in order they give the files that were in place.
///
/// An old reader that meets a kind it does not know forgets the set; kinds are added, never changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Record {
    /// The set is of this snapshot.
    Of(SnapshotId),
    /// A file is in place, closed.
    Placed {
        /// Its path below `restore/NODE`.
        path: String,
        /// What it is.
        content: Content,
    },
    /// A file is no longer in place.
    Gone {
        /// Its path below `restore/NODE`.
        path: String,
    },
}

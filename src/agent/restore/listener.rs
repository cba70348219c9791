//! Who hears how a restore goes on.

use super::node_journal::NodeStep;
use crate::model::Progress;

/// Told of a restore while it runs. Nothing waits for it: it may be gone.
pub trait Listener: Send + Sync {
    /// All of the stage so far; about twice a second.
    fn progress(&self, progress: Progress);
    /// A step begins.
    fn step(&self, step: NodeStep);
    /// A line for the log.
    fn note(&self, text: &str);
}

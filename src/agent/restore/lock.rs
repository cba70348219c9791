//! One restore at a time on a node.

use std::fs::{File, TryLockError};
use std::path::Path;

use super::error::RestoreError;

/// Held by the one agent that may change this node; the kernel lets go of it when the agent ends,
/// however it ends.
#[derive(Debug)]
pub(super) struct NodeLock {
    file: File,
}

impl Drop for NodeLock {
    /// Closing alone would leave it with a program that was forked meanwhile, until its exec.
    fn drop(&mut self) {
        let _ends_with_the_process_anyway = self.file.unlock();
    }
}

impl NodeLock {
    /// Takes the lock of the node whose first data directory this is. The directory itself is
    /// locked: nothing is left.
    ///
    /// # Errors
    ///
    /// [`RestoreError::Busy`] while another agent has it.
    pub(super) fn take(first: &Path) -> Result<Self, RestoreError> {
        let file = File::open(first).map_err(RestoreError::disk("open", first))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { file }),
            Err(TryLockError::WouldBlock) => Err(RestoreError::Busy(
                "another agent works on a restore of this node, or removes what an old one left; wait \
                 for its end"
                    .to_owned(),
            )),
            Err(TryLockError::Error(error)) => Err(RestoreError::disk("lock", first)(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_agent_is_refused_until_the_first_ends() {
        let first = tempfile::tempdir().unwrap();
        let lock = NodeLock::take(first.path()).unwrap();
        let refused = NodeLock::take(first.path()).unwrap_err();
        assert!(matches!(refused, RestoreError::Busy(_)));
        drop(lock);
        NodeLock::take(first.path()).unwrap();
    }
}

//! Sets that were begun before the mount was restarted.

use crate::model::JobId;
use crate::staging::Set;

use super::FsError;
use super::copies::{Copies, node_of};
use super::desk::{Desk, Top};
use super::journal::Recalled;

/// Why such a restore is never the plain case.
const RESTARTED: &str = "medusafs was restarted since the files were copied";

impl Copies {
    /// Takes up what was written down, once the store's backups are known.
    pub(super) fn recall(&self) {
        if self.inner.to_recall.lock().is_empty() {
            return;
        }
        let snapshots = self.inner.stored.snapshots();
        if snapshots.is_empty() {
            return;
        }
        let jobs = self.jobs();
        let mut tops = Vec::new();
        {
            // Held throughout, so that nobody begins a set in a place that is being taken up.
            let mut desk = self.inner.desk.lock();
            let recalled = std::mem::take(&mut *self.inner.to_recall.lock());
            for found in recalled {
                let is_receipt = found.is_receipt();
                if let (Top::Node(node), Some(job)) = (&found.top, found.cleared) {
                    desk.cleared.insert(node.clone(), job);
                }
                let set = Set::recall(node_of(&found.top), snapshots.clone(), found.records);
                if set.is_blank() {
                    // What is copied there next is another set, also for the one after a restart.
                    if !is_receipt {
                        desk.forget(&found.top);
                    }
                    continue;
                }
                let lines = desk.outbox.len();
                desk.add(&found.top, set, (found.uid, found.gid), self.inner.clock.now());
                // It is written down already.
                desk.outbox.truncate(lines);
                if let Ok(staged) = desk.get_mut(&found.top) {
                    let known = |id: &JobId| jobs.iter().any(|job| job.id == *id);
                    staged.job = found.job.filter(known);
                    staged.is_untold = staged.job.is_some();
                    staged.answered = staged.job.is_some().then(|| staged.set.losses());
                    staged.hold.push(RESTARTED.to_owned());
                }
                tops.push(found.top);
            }
        }
        for top in tops {
            tracing::info!(%top, "a set was begun before medusafs was restarted");
            self.follow(&top);
        }
    }

    /// Whether what was copied there before a restart is known again.
    pub(super) fn is_recalled(&self, desk: &Desk, top: &Top) -> Result<(), FsError> {
        let waits = |found: &Recalled| found.top == *top && !found.records.is_empty();
        if desk.get(top).is_none() && self.inner.to_recall.lock().iter().any(waits) {
            return Err(FsError::Busy(format!(
                "{top} was copied into before medusafs was restarted, and the store's backups are \
                 still being read: try again in a moment"
            )));
        }
        Ok(())
    }
}

//! Work beside a conversation that the node's lock is held for.

use std::thread::JoinHandle;

use parking_lot::Mutex;

/// A thread that removes what is not needed any more. It ends with the process.
#[derive(Debug, Default)]
pub(super) struct Sweeping(Mutex<Option<JoinHandle<()>>>);

impl Sweeping {
    /// Begins it, unless it goes on already.
    pub(super) fn begin(&self, work: impl FnOnce() + Send + 'static) {
        let mut thread = self.0.lock();
        if thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        match std::thread::Builder::new().name("sweep".to_owned()).spawn(work) {
            Ok(begun) => *thread = Some(begun),
            Err(error) => tracing::warn!(%error, "old restores are left"),
        }
    }

    /// Waits for its end. Blocks.
    pub(super) fn wait(&self) {
        let thread = self.0.lock().take();
        // One that panicked has ended too.
        drop(thread.map(JoinHandle::join));
    }
}

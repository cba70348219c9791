//! What is open: numbers that the kernel hands back to us.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use parking_lot::RwLock;

use super::FsError;

/// The number of something open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Handle(pub u64);

/// Open things of one kind, up to a limit.
#[derive(Debug)]
pub(super) struct Handles<T> {
    limit: usize,
    next: AtomicU64,
    open: RwLock<HashMap<u64, Arc<T>>>,
}

impl<T> Handles<T> {
    /// Takes up to `limit`.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, next: AtomicU64::new(1), open: RwLock::default() }
    }

    /// Opens one more.
    pub(super) fn open(&self, thing: T) -> Result<Handle, FsError> {
        let mut open = self.open.write();
        if open.len() >= self.limit {
            return Err(FsError::TooManyOpen(self.limit));
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        open.insert(number, Arc::new(thing));
        Ok(Handle(number))
    }

    /// What is open under a number.
    pub(super) fn get(&self, handle: Handle) -> Result<Arc<T>, FsError> {
        let found = self.open.read().get(&handle.0).map(Arc::clone);
        found.ok_or_else(|| FsError::Bug(format!("nothing is open as {}", handle.0)))
    }

    /// Closes it.
    pub(super) fn close(&self, handle: Handle) -> Option<Arc<T>> {
        self.open.write().remove(&handle.0)
    }

    /// How many are open.
    pub(super) fn len(&self) -> usize {
        self.open.read().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_refusal_and_not_an_end() {
        let handles = Handles::new(1);
        let first = handles.open("a").unwrap();
        assert!(matches!(handles.open("b"), Err(FsError::TooManyOpen(1))));
        handles.close(first);
        assert!(handles.get(first).is_err());
        assert!(handles.open("b").is_ok());
    }
}

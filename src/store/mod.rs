//! The share: a directory tree that is opened only below its root.

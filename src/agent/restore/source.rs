//! Where the backup's bytes come from.

use std::error::Error;
use std::fmt::Debug;
use std::fs::File;

use super::order::Contents;
use crate::model::{Md5, ObjectKey};

/// A backup of one node, as the share gives it. Every call may block for as long as the share
/// likes.
pub trait Source: Send + Sync + Debug {
    /// The MD5 of its manifest, and what this names.
    fn contents(&self) -> Result<(Md5, Contents), Box<dyn Error + Send + Sync>>;
    /// How many of its files are stored with another size than the manifest says, and rightly so.
    fn written_anew(&self, contents: &Contents) -> Result<u64, Box<dyn Error + Send + Sync>>;
    /// A stored object, opened for reading.
    fn open(&self, key: &ObjectKey) -> Result<File, Box<dyn Error + Send + Sync>>;
}

/// Finds the backup of an order. It may block for as long as the share likes.
pub trait Sources: Send + Sync {
    /// The backup.
    fn of(
        &self,
        order: &super::order::Order,
    ) -> Result<std::sync::Arc<dyn Source>, Box<dyn Error + Send + Sync>>;
}

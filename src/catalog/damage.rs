//! What was found wrong with a backup's files.

use std::fmt;

use crate::model::{ByteSize, Fqdn, ObjectKey};

/// A file that a manifest names, and that is not as it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Whose manifest names it.
    pub node: Fqdn,
    /// Where it should be.
    pub key: ObjectKey,
    /// What is wrong.
    pub kind: DamageKind,
}

/// What is wrong with a stored file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DamageKind {
    /// It is not there.
    Missing,
    /// It has another size: Medusa writes over files of its pool in place.
    Size {
        /// What the manifest says.
        recorded: ByteSize,
        /// What the share says.
        stored: ByteSize,
    },
    /// It has the size and not the content.
    Content,
    /// It is a directory or a link.
    Unreadable,
}

impl Damage {
    /// Of one file of one manifest there is one finding.
    pub(super) fn place(&self) -> (Fqdn, ObjectKey) {
        (self.node.clone(), self.key.clone())
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            DamageKind::Missing => write!(f, "{} is missing", self.key),
            DamageKind::Size { recorded, stored } => write!(
                f,
                "{} has {} bytes, and had {} when it was backed up",
                self.key, stored.0, recorded.0
            ),
            DamageKind::Content => {
                write!(f, "{} has another content than when it was backed up", self.key)
            }
            DamageKind::Unreadable => write!(f, "{} cannot be read", self.key),
        }
    }
}

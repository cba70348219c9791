//! What a set must know to judge, and cannot find out itself.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::Md5;
use crate::model::ObjectKey;

use super::snapshot::{Contents, SnapshotId};

/// Something to find out, then tell with [`super::Set::learn`], then ask again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// The files of a snapshot. Answer: [`Fact::Contents`].
    Contents(SnapshotId),
    /// The snapshots whose `manifest.json` has this size and MD5. Answer: [`Fact::Manifest`].
    Manifest {
        /// Bytes.
        size: u64,
        /// Of all of them.
        md5: Md5,
    },
    /// Which of these objects have the bytes that are being written, at their offset; the caller
    /// has the bytes, and tells the answer with the same write.
    Compare {
        /// The objects to compare with.
        keys: Vec<ObjectKey>,
    },
    /// The MD5 of an object's first bytes. Answer: [`Fact::Digest`].
    Digest {
        /// The object.
        key: ObjectKey,
        /// How many of its bytes.
        len: u64,
    },
    /// Whether a range of an object is all zeros: a tool left it out. Answer: [`Fact::Zeros`].
    Zeros {
        /// The object.
        key: ObjectKey,
        /// The first byte.
        start: u64,
        /// The byte after the last.
        end: u64,
    },
}

/// What was found out.
#[derive(Clone)]
pub enum Fact {
    /// The files of a snapshot; why not, in words, if no set can be of it.
    Contents(SnapshotId, Result<Arc<dyn Contents>, Arc<str>>),
    /// Who has a `manifest.json` of this size and MD5, the newest first.
    Manifest {
        /// As asked.
        size: u64,
        /// As asked.
        md5: Md5,
        /// The snapshots; empty if no backup has it.
        of: Vec<SnapshotId>,
    },
    /// The MD5 of an object's first bytes; none if it has not so many.
    Digest {
        /// As asked.
        key: ObjectKey,
        /// As asked.
        len: u64,
        /// What was found.
        md5: Option<Md5>,
    },
    /// Whether a range is all zeros.
    Zeros {
        /// As asked.
        key: ObjectKey,
        /// As asked.
        start: u64,
        /// As asked.
        end: u64,
        /// False also if the object ends before the range does.
        zeros: bool,
    },
}

/// A call's answer, or what must be known first. Asked again with that known, it goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Asked<T> {
    /// It is done.
    Done(T),
    /// Nothing was changed yet.
    Need(Need),
}

/// What an object's first bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// They have this MD5.
    Is(Md5),
    /// It has not so many.
    TooShort,
}

/// What was learned and may be asked again.
#[derive(Default)]
pub(super) struct Facts {
    digests: HashMap<(ObjectKey, u64), Found>,
    zeros: HashMap<(ObjectKey, u64, u64), bool>,
    manifests: HashMap<(u64, Md5), Vec<SnapshotId>>,
}

/// Facts are asked for again within a call or two; past so many they are found out anew.
const MOST_FACTS: usize = 4096;

impl Facts {
    pub(super) fn digest(&self, key: &ObjectKey, len: u64) -> Option<Found> {
        self.digests.get(&(key.clone(), len)).copied()
    }

    pub(super) fn zeros(&self, key: &ObjectKey, start: u64, end: u64) -> Option<bool> {
        self.zeros.get(&(key.clone(), start, end)).copied()
    }

    pub(super) fn manifest(&self, size: u64, md5: Md5) -> Option<&[SnapshotId]> {
        self.manifests.get(&(size, md5)).map(Vec::as_slice)
    }

    pub(super) fn add_digest(&mut self, key: ObjectKey, len: u64, md5: Option<Md5>) {
        self.make_room();
        self.digests.insert((key, len), md5.map_or(Found::TooShort, Found::Is));
    }

    pub(super) fn add_zeros(&mut self, key: ObjectKey, start: u64, end: u64, zeros: bool) {
        self.make_room();
        self.zeros.insert((key, start, end), zeros);
    }

    pub(super) fn add_manifest(&mut self, size: u64, md5: Md5, of: Vec<SnapshotId>) {
        self.make_room();
        self.manifests.insert((size, md5), of);
    }

    fn make_room(&mut self) {
        if self.digests.len() + self.zeros.len() + self.manifests.len() >= MOST_FACTS {
            *self = Self::default();
        }
    }
}

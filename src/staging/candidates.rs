//! The snapshots that a set can still be, narrowed file by file.

use std::sync::Arc;

use super::snapshot::{Contents, SnapshotId, Source};

/// With so few left it is worth loading the manifests of all, so that a wrong file is refused even
/// before `manifest.json` has come.
const FEW: usize = 16;

/// So many that were left out are told.
const MOST_TOLD: usize = 3;

/// Never empty of names, unless the store is: what would rule out the last one is refused.
pub(super) struct Candidates {
    live: Vec<Candidate>,
    /// Why others were left out, a few of them.
    left_out: Vec<Arc<str>>,
}

struct Candidate {
    id: SnapshotId,
    contents: Option<Arc<dyn Contents>>,
}

/// How much of what is left is known.
pub(super) enum Known<'a> {
    /// One is left, and its files are known.
    One(&'a SnapshotId, &'a Arc<dyn Contents>),
    /// A few are left, and the files of all are known.
    Few,
    /// A few are left; the files of this one are to be loaded.
    Load(SnapshotId),
    /// Too many to load.
    Many,
    /// The store has no snapshot.
    None,
}

impl Candidates {
    /// Takes every snapshot of the store, the likeliest first.
    pub(super) fn new(snapshots: Vec<SnapshotId>) -> Self {
        let live = snapshots.into_iter().map(|id| Candidate { id, contents: None }).collect();
        Self { live, left_out: Vec::new() }
    }

    pub(super) fn known(&self) -> Known<'_> {
        match self.live.as_slice() {
            [] => Known::None,
            [Candidate { id, contents: Some(contents) }] => Known::One(id, contents),
            few if few.len() <= FEW => few
                .iter()
                .find(|candidate| candidate.contents.is_none())
                .map_or(Known::Few, |candidate| Known::Load(candidate.id.clone())),
            _ => Known::Many,
        }
    }

    /// The one that is left, if its files are known.
    pub(super) fn one(&self) -> Option<(&SnapshotId, &Arc<dyn Contents>)> {
        match self.known() {
            Known::One(id, contents) => Some((id, contents)),
            _ => None,
        }
    }

    /// The one that is left.
    pub(super) fn only(&self) -> Option<&SnapshotId> {
        match self.live.as_slice() {
            [only] => Some(&only.id),
            _ => None,
        }
    }

    /// All whose files are known, the likeliest first.
    pub(super) fn loaded(&self) -> impl Iterator<Item = (&SnapshotId, &Arc<dyn Contents>)> {
        self.live.iter().filter_map(|one| Some((&one.id, one.contents.as_ref()?)))
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &SnapshotId> {
        self.live.iter().map(|candidate| &candidate.id)
    }

    /// Keeps those that `fits`; false, and no change, if that would be none.
    pub(super) fn narrow(&mut self, fits: impl Fn(&SnapshotId) -> bool) -> bool {
        let any = self.live.iter().any(|candidate| fits(&candidate.id));
        if any {
            self.live.retain(|candidate| fits(&candidate.id));
        }
        any
    }

    /// Tells the files of one; one whose files cannot be known is not a candidate.
    pub(super) fn attach(
        &mut self,
        id: &SnapshotId,
        contents: Result<Arc<dyn Contents>, Arc<str>>,
    ) {
        match contents {
            Ok(contents) => {
                for candidate in self.live.iter_mut().filter(|candidate| candidate.id == *id) {
                    candidate.contents = Some(Arc::clone(&contents));
                }
            }
            Err(why) => {
                self.live.retain(|candidate| candidate.id != *id);
                if self.left_out.len() < MOST_TOLD {
                    self.left_out.push(why);
                }
            }
        }
    }

    /// What is left, in words.
    pub(super) fn describe(&self) -> String {
        let mut words = self.describe_live();
        for why in &self.left_out {
            words.push_str("; left out: ");
            words.push_str(why);
        }
        words
    }

    fn describe_live(&self) -> String {
        match self.live.as_slice() {
            [] => "no backup of this store".to_owned(),
            [only] => only.id.to_string(),
            [first, ..] => {
                let node = &first.id.node;
                if self.live.iter().all(|candidate| candidate.id.node == *node) {
                    format!("one of {} backups of {node}", self.live.len())
                } else {
                    format!("one of {} snapshots", self.live.len())
                }
            }
        }
    }
}

/// Can an object that lies there be of this snapshot?
pub(super) fn may_hold(id: &SnapshotId, source: &Source) -> bool {
    id.node == source.node && source.backup.as_ref().is_none_or(|backup| *backup == id.backup)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{BackupName, Fqdn};

    #[test]
    fn what_was_left_out_is_said_with_the_reason() {
        let backup = BackupName::parse("b").unwrap();
        let id = SnapshotId { backup, node: Fqdn::parse("n1").unwrap() };
        let mut candidates = Candidates::new(vec![id.clone()]);
        candidates.attach(&id, Err(Arc::from("too many files: raise `memory`")));
        assert_eq!(
            candidates.describe(),
            "no backup of this store; left out: too many files: raise `memory`"
        );
    }
}

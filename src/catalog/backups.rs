//! The backups of a store, as one consistent picture.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use crate::medusa::Mode;
use crate::model::{BackupName, ByteSize, Fqdn, UnixSeconds};

use super::{Damage, Reason};

/// All backups of a store at one moment. What a holder of it sees never changes.
#[derive(Debug, Default)]
pub struct Backups {
    pub(super) by_name: BTreeMap<BackupName, Arc<Backup>>,
    pub(super) latest: Option<BackupName>,
    pub(super) nodes: BTreeMap<Fqdn, BTreeSet<BackupName>>,
    pub(super) is_scan_cut: bool,
}

/// The node backups that share a name.
#[derive(Debug, Clone)]
pub struct Backup {
    /// The name. Medusa lets names pass that the tree has no room for, such as `latest`.
    pub name: BackupName,
    /// Of the node that began first, by the files it names if they are known, else by markers.
    pub mode: Mode,
    /// When the first node began, by the share's clock.
    pub started: UnixSeconds,
    /// When the last node finished; none unless all that are known to belong to it have.
    pub finished: Option<UnixSeconds>,
    /// What each node has of it.
    pub nodes: BTreeMap<Fqdn, NodeBackup>,
    /// Whether it is whole.
    pub state: Completeness,
    /// The nodes of the ring as its nodes saw it, all data centres together; none until it was
    /// examined.
    pub ring: Option<Arc<BTreeSet<Fqdn>>>,
    /// What was found wrong with its files, in the order found, up to a thousand.
    pub damage: Vec<Damage>,
}

/// What a node has of a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeBackup {
    /// By the files it names if they are known, else by markers.
    pub mode: Mode,
    /// When it began, by the share's clock.
    pub started: UnixSeconds,
    /// When it finished.
    pub finished: Option<UnixSeconds>,
    /// False if the index knows nothing of it: Medusa does not list it until it is rebuilt.
    pub is_indexed: bool,
    /// How many files it names; none until it was examined.
    pub files: Option<u64>,
    /// What they have together, those shared with other backups among them.
    pub size: Option<ByteSize>,
}

/// Whether a backup is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Completeness {
    /// Not looked into yet: [`Catalog::deepen`](super::Catalog::deepen) will.
    Unexamined,
    /// Every node of the ring has finished, and each names files of every keyspace that it had.
    Complete,
    /// It is not, for at least one reason.
    Incomplete(Vec<Reason>),
}

impl Backup {
    /// Complete, and nothing was found wrong since.
    pub fn is_good(&self) -> bool {
        self.state == Completeness::Complete && self.damage.is_empty()
    }

    /// False if the index lacks one of its nodes.
    pub fn is_indexed(&self) -> bool {
        self.nodes.values().all(|node| node.is_indexed)
    }

    /// How many files all its nodes name; none if one of them was not examined.
    pub fn files(&self) -> Option<u64> {
        self.nodes.values().try_fold(0_u64, |sum, node| Some(sum.saturating_add(node.files?)))
    }

    /// What those files have together; none if one of its nodes was not examined.
    pub fn size(&self) -> Option<ByteSize> {
        let sum = |sum: u64, node: &NodeBackup| Some(sum.saturating_add(node.size?.0));
        self.nodes.values().try_fold(0, sum).map(ByteSize)
    }
}

impl Backups {
    /// All backups, by name.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<Backup>> + ExactSizeIterator {
        self.by_name.values()
    }

    /// All backups, the one that began last first; of two that began together, by name backwards.
    pub fn newest_first(&self) -> Vec<&Arc<Backup>> {
        let mut all: Vec<_> = self.iter().collect();
        all.sort_by_key(|backup| std::cmp::Reverse((backup.started, &backup.name)));
        all
    }

    /// The backup of that name.
    pub fn get(&self, name: &BackupName) -> Option<&Arc<Backup>> {
        self.by_name.get(name)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_name.len()
    }

    /// True if there is none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The backup that began last of those that are complete and undamaged. One that was not
    /// examined is passed over.
    pub fn latest(&self) -> Option<&Arc<Backup>> {
        self.get(self.latest.as_ref()?)
    }

    /// The nodes that have a backup, those that left the ring long ago among them.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &Fqdn> {
        self.nodes.keys()
    }

    /// The names of the backups that a node has; nothing for a node that has none.
    pub fn of_node(&self, fqdn: &Fqdn) -> impl Iterator<Item = &BackupName> {
        self.nodes.get(fqdn).into_iter().flatten()
    }

    /// The ring of the backup that began last of those whose ring is known.
    pub fn newest_ring(&self) -> Option<&Arc<BTreeSet<Fqdn>>> {
        self.newest_first().into_iter().find_map(|backup| backup.ring.as_ref())
    }

    /// A backup that Medusa's purge could not tell from a new one called `name`: one of the names
    /// is the beginning of the other, or both are one.
    pub fn clashing(&self, name: &BackupName) -> Option<&BackupName> {
        let longer = self.by_name.range((Bound::Included(name), Bound::Unbounded)).next();
        let longer = longer.filter(|(other, _)| other.as_str().starts_with(name.as_str()));
        let shorter = || {
            let ends = name.as_str().char_indices().map(|(at, _)| at).skip(1);
            ends.filter_map(|at| BackupName::parse(name.as_str().get(..at)?).ok())
                .find_map(|shorter| self.by_name.get_key_value(&shorter))
        };
        longer.or_else(shorter).map(|(other, _)| other)
    }

    /// True if so many directories would have had to be looked at for backups outside of the
    /// index that some were not.
    pub fn is_scan_cut(&self) -> bool {
        self.is_scan_cut
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    fn named(names: &[&str]) -> Backups {
        let backup = |name: &&str| {
            let name = BackupName::parse(name).unwrap();
            let backup = Backup {
                name: name.clone(),
                mode: Mode::Full,
                started: UnixSeconds(0),
                finished: None,
                nodes: BTreeMap::new(),
                state: Completeness::Unexamined,
                ring: None,
                damage: Vec::new(),
            };
            (name, Arc::new(backup))
        };
        Backups { by_name: names.iter().map(backup).collect(), ..Backups::default() }
    }

    #[test_case("b1", Some("b1"); "the same")]
    #[test_case("b", Some("b1"); "the beginning of an old one")]
    #[test_case("b10", Some("b1"); "begins with an old one")]
    #[test_case("a", None; "before all")]
    #[test_case("b2", None; "another of the same length")]
    fn a_name_that_purge_would_mix_up_is_found(name: &str, clash: Option<&str>) {
        let backups = named(&["b1", "c-2"]);
        let name = BackupName::parse(name).unwrap();
        assert_eq!(backups.clashing(&name).map(BackupName::as_str), clash);
    }
}

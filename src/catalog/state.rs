//! What is known, and the picture that is made of it. No call to the share is made here.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use crate::medusa::Mode;
use crate::model::{BackupName, ByteSize, Fqdn, ObjectKey, UnixSeconds};

use super::{Backup, Backups, Completeness, Damage, DamageKind, NodeBackup};

/// What names and times of files tell of a node backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FoundNode {
    pub(super) started: UnixSeconds,
    pub(super) finished: Option<UnixSeconds>,
    pub(super) is_marked_differential: bool,
    pub(super) is_indexed: bool,
}

/// The nodes of a backup, as found.
pub(super) type Found = BTreeMap<Fqdn, FoundNode>;

/// Backups, as found.
pub(super) type FoundBackups = BTreeMap<BackupName, Arc<Found>>;

/// What looking into a backup told.
#[derive(Debug)]
pub(super) struct Verdict {
    /// It holds while this is what is found.
    pub(super) basis: Arc<Found>,
    pub(super) state: Completeness,
    pub(super) ring: Option<Arc<BTreeSet<Fqdn>>>,
    pub(super) sums: BTreeMap<Fqdn, Sum>,
}

/// What a node's manifest says in sum.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sum {
    pub(super) mode: Mode,
    pub(super) files: u64,
    pub(super) size: ByteSize,
}

/// Of so many rings of late backups one is taken again if it is the same.
const RINGS: usize = 8;

/// At most so many findings are kept of one backup.
const MOST_DAMAGE: usize = 1000;

/// All that is known.
#[derive(Default)]
pub(super) struct State {
    indexed: FoundBackups,
    unindexed: FoundBackups,
    is_scan_cut: bool,
    /// Both together.
    found: FoundBackups,
    verdicts: BTreeMap<BackupName, Arc<Verdict>>,
    damage: BTreeMap<BackupName, Arc<Vec<Damage>>>,
    built: BTreeMap<BackupName, Built>,
    rings: VecDeque<Arc<BTreeSet<Fqdn>>>,
}

/// A backup, and what it was made of: while that is the same, so is it.
struct Built {
    found: Arc<Found>,
    verdict: Option<Arc<Verdict>>,
    damage: Option<Arc<Vec<Damage>>>,
    backup: Arc<Backup>,
}

fn is_same<T>(a: Option<&Arc<T>>, b: Option<&Arc<T>>) -> bool {
    match (a, b) {
        (None, None) => true,
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        _ => false,
    }
}

impl State {
    pub(super) fn set_indexed(&mut self, indexed: FoundBackups) -> bool {
        self.indexed = indexed;
        self.merge();
        true
    }

    pub(super) fn set_unindexed(&mut self, unindexed: FoundBackups, is_scan_cut: bool) -> bool {
        self.unindexed = unindexed;
        self.is_scan_cut = is_scan_cut;
        self.merge();
        true
    }

    /// What the index knows.
    pub(super) fn indexed(&self) -> FoundBackups {
        self.indexed.clone()
    }

    pub(super) fn found(&self, name: &BackupName) -> Option<Arc<Found>> {
        self.found.get(name).map(Arc::clone)
    }

    /// Keeps a verdict, if it still is about what is found.
    pub(super) fn set_verdict(&mut self, name: &BackupName, mut verdict: Verdict) -> bool {
        let holds = self.found.get(name).is_some_and(|found| **found == *verdict.basis);
        if holds {
            let ring = verdict.ring.take();
            verdict.ring = ring.map(|ring| self.one_ring(ring));
            self.verdicts.insert(name.clone(), Arc::new(verdict));
        }
        holds
    }

    /// The ring seldom changes: backups share it.
    fn one_ring(&mut self, ring: Arc<BTreeSet<Fqdn>>) -> Arc<BTreeSet<Fqdn>> {
        let known = self.rings.iter().find(|known| **known == ring);
        let ring = known.map_or(ring, Arc::clone);
        self.rings.retain(|known| !Arc::ptr_eq(known, &ring));
        self.rings.push_back(Arc::clone(&ring));
        if self.rings.len() > RINGS {
            self.rings.pop_front();
        }
        ring
    }

    /// Keeps what was found wrong with files of a backup. True if it was not known.
    pub(super) fn note(&mut self, name: &BackupName, found: Vec<Damage>) -> bool {
        if found.is_empty() {
            return false;
        }
        let known = self.damage.entry(name.clone()).or_default();
        let mut places: HashMap<(Fqdn, ObjectKey), usize> =
            known.iter().enumerate().map(|(at, old)| (old.place(), at)).collect();
        let mut all = known.to_vec();
        for damage in found {
            if let Some(at) = places.get(&damage.place()) {
                if let Some(old) = all.get_mut(*at) {
                    *old = damage;
                }
            } else if all.len() < MOST_DAMAGE {
                places.insert(damage.place(), all.len());
                all.push(damage);
            }
        }
        let is_news = all != **known;
        if is_news {
            *known = Arc::new(all);
        }
        is_news
    }

    /// Forgets damage that a look at the share has shown to be none. True if there was any.
    pub(super) fn unnote(
        &mut self,
        name: &BackupName,
        right: &BTreeSet<(Fqdn, ObjectKey)>,
    ) -> bool {
        let Some(known) = self.damage.get(name) else { return false };
        // What has other content may well have the right size.
        let stays =
            |old: &&Damage| old.kind == DamageKind::Content || !right.contains(&old.place());
        let left: Vec<Damage> = known.iter().filter(stays).cloned().collect();
        let is_news = left.len() != known.len();
        if left.is_empty() {
            self.damage.remove(name);
        } else if is_news {
            self.damage.insert(name.clone(), Arc::new(left));
        }
        is_news
    }

    /// What is noted: whose, where, and of which backups.
    pub(super) fn noted(&self) -> BTreeMap<(Fqdn, ObjectKey), Vec<BackupName>> {
        let mut noted = BTreeMap::<_, Vec<BackupName>>::new();
        for (name, damage) in &self.damage {
            for one in damage.iter() {
                noted.entry(one.place()).or_default().push(name.clone());
            }
        }
        noted
    }

    /// A node backup of the index goes before the same found outside of it.
    fn merge(&mut self) {
        let mut merged = self.indexed.clone();
        for (name, more) in &self.unindexed {
            let entry = merged.entry(name.clone()).or_default();
            if more.keys().any(|fqdn| !entry.contains_key(fqdn)) {
                let entry = Arc::make_mut(entry);
                for (fqdn, node) in &**more {
                    entry.entry(fqdn.clone()).or_insert(*node);
                }
            }
        }
        for (name, found) in &mut merged {
            // The same content keeps its place in memory, and with it everything made of it.
            if let Some(old) = self.found.get(name).filter(|old| **old == *found) {
                *found = Arc::clone(old);
            }
        }
        let found = &merged;
        let holds = |name: &BackupName, verdict: &Arc<Verdict>| {
            found.get(name).is_some_and(|found| *found == verdict.basis)
        };
        self.verdicts.retain(|name, verdict| holds(name, verdict));
        self.damage.retain(|name, _| found.contains_key(name));
        self.found = merged;
    }

    /// The picture of now, and whether it differs from `old`.
    pub(super) fn picture(&mut self, old: &Backups) -> (Backups, bool) {
        let mut built = BTreeMap::new();
        for (name, found) in &self.found {
            let (verdict, damage) = (self.verdicts.get(name), self.damage.get(name));
            let before = self.built.remove(name).filter(|before| {
                Arc::ptr_eq(&before.found, found)
                    && is_same(before.verdict.as_ref(), verdict)
                    && is_same(before.damage.as_ref(), damage)
            });
            let now = before.or_else(|| {
                Some(Built {
                    backup: Arc::new(build(name, found, verdict, damage)?),
                    found: Arc::clone(found),
                    verdict: verdict.map(Arc::clone),
                    damage: damage.map(Arc::clone),
                })
            });
            if let Some(now) = now {
                built.insert(name.clone(), now);
            }
        }
        self.built = built;
        let by_name: BTreeMap<_, _> = self
            .built
            .iter()
            .map(|(name, built)| (name.clone(), Arc::clone(&built.backup)))
            .collect();
        let is_changed = by_name.len() != old.by_name.len()
            || old.is_scan_cut != self.is_scan_cut
            || by_name.iter().zip(&old.by_name).any(|(now, old)| !Arc::ptr_eq(now.1, old.1));
        let mut nodes = BTreeMap::<Fqdn, BTreeSet<BackupName>>::new();
        for (name, backup) in &by_name {
            for fqdn in backup.nodes.keys() {
                nodes.entry(fqdn.clone()).or_default().insert(name.clone());
            }
        }
        let latest = by_name
            .values()
            .filter(|backup| backup.is_good())
            .max_by_key(|backup| (backup.started, &backup.name))
            .map(|backup| backup.name.clone());
        (Backups { by_name, latest, nodes, is_scan_cut: self.is_scan_cut }, is_changed)
    }
}

/// A backup of what was found and told; none if it has no node.
fn build(
    name: &BackupName,
    found: &Found,
    verdict: Option<&Arc<Verdict>>,
    damage: Option<&Arc<Vec<Damage>>>,
) -> Option<Backup> {
    let sum_of = |fqdn| verdict.and_then(|verdict| verdict.sums.get(fqdn));
    let nodes: BTreeMap<Fqdn, NodeBackup> = found
        .iter()
        .map(|(fqdn, node)| {
            let sum = sum_of(fqdn);
            let marked = Mode::of_marker(node.is_marked_differential);
            let backup = NodeBackup {
                mode: sum.map_or(marked, |sum| marked.max(sum.mode)),
                started: node.started,
                finished: node.finished,
                is_indexed: node.is_indexed,
                files: sum.map(|sum| sum.files),
                size: sum.map(|sum| sum.size),
            };
            (fqdn.clone(), backup)
        })
        .collect();
    let earliest = nodes.iter().min_by_key(|(fqdn, node)| (node.started, *fqdn))?.1.clone();
    let all_finished: Option<Vec<UnixSeconds>> = nodes.values().map(|node| node.finished).collect();
    let is_missing_none = verdict.is_none_or(|verdict| {
        let ring = verdict.ring.as_deref();
        ring.is_none_or(|ring| ring.iter().all(|fqdn| nodes.contains_key(fqdn)))
    });
    let finished = all_finished.and_then(|times| times.into_iter().max());
    Some(Backup {
        name: name.clone(),
        mode: earliest.mode,
        started: earliest.started,
        finished: finished.filter(|_| is_missing_none),
        nodes,
        state: verdict.map_or(Completeness::Unexamined, |verdict| verdict.state.clone()),
        ring: verdict.and_then(|verdict| verdict.ring.clone()),
        damage: damage.map(|damage| damage.to_vec()).unwrap_or_default(),
    })
}

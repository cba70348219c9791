//! Which files of a snapshot the store has already. Pure: what must be read is asked of
//! [`Evidence`].
//!
//! File names say nothing about content: generation numbers begin anew after a TRUNCATE and a
//! restart, and Cassandra rewrites some components under their name. So a stored object counts
//! only if its name, size **and content hash** are those of the node's file. The hash is not
//! always computed: `Digest.crc32` holds the CRC of `Data.db`, so that a generation whose
//! `Digest.crc32` has the hash that an earlier manifest names is that generation, and its
//! components that are written once need no reading.
//!
//! That proof takes a manifest which records the hash of all these components itself. One of
//! Medusa's may not: it reuses by name and size, so that it can name the `Data.db` of one
//! generation beside the `Digest.crc32` of another, and leaves out the hash of what it reuses.

use crate::model::Md5;
use crate::model::ObjectKey;

/// Components that an SSTable's writer writes once, and that the CRC of `Data.db` speaks for.
///
/// Not among them: `Statistics.db` (repair, levels), `Summary.db` (resampling) and `TOC.txt` (new
/// indexes) are rewritten under their name; the parts of an SAI or SASI index come later and may
/// be built anew.
const WRITTEN_ONCE: [&str; 8] = [
    "Data.db",
    "Index.db",
    "Filter.db",
    "CompressionInfo.db",
    "CRC.db",
    "Partitions.db",
    "Rows.db",
    DIGEST,
];

const DIGEST: &str = "Digest.crc32";

/// A file of the snapshot and what the store has under its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen<T> {
    /// The file; opaque here.
    pub(super) file: T,
    /// The last name of its path.
    pub(super) name: String,
    /// Its size.
    pub(super) bytes: u64,
    /// Where it would lie in the pool.
    pub(super) place: ObjectKey,
    /// The size of what lies there; none if the place is free.
    pub(super) stored_bytes: Option<u64>,
    /// What earlier backups have under its name, newest first. Only what is really stored with
    /// the size that its manifest says.
    pub(super) named: Vec<Named>,
}

/// An object that an earlier backup's manifest names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Named {
    /// Which manifest: 0 is the newest.
    pub(super) manifest: usize,
    /// The object: in its place, or a variant.
    pub(super) key: ObjectKey,
    /// Its size.
    pub(super) bytes: u64,
    /// Its content's hash by the newest manifest that has one.
    pub(super) md5: Option<Md5>,
    /// Whether this very manifest has that hash, and not only an older one.
    pub(super) recorded: bool,
}

/// What is to be done about a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// The store has this content here.
    Reuse {
        /// The object.
        key: ObjectKey,
        /// Its hash.
        md5: Md5,
        /// Whether no manifest names it yet: a backup that never finished left it.
        adopted: bool,
    },
    /// It must be copied.
    Copy {
        /// Whether its place holds something else, so that it becomes a variant.
        taken: bool,
    },
}

/// Reads and hashes.
pub(super) trait Evidence<T> {
    /// Why something could not be read.
    type Error;

    /// The hash of a file of the snapshot.
    fn of_source(&mut self, file: &T) -> Result<Md5, Self::Error>;

    /// The hash of a stored object.
    fn of_stored(&mut self, key: &ObjectKey) -> Result<Md5, Self::Error>;
}

/// The SSTable that a file belongs to (`nb-3-big`) and its component (`Data.db`).
pub(super) fn generation(name: &str) -> Option<(&str, &str)> {
    let dash = name.match_indices('-').nth(2)?.0;
    let (generation, component) = name.split_at_checked(dash)?;
    Some((generation, component.strip_prefix('-')?))
}

/// Decides about the files of one generation, or of one file that is of none. The decisions come
/// in the files' order.
pub(super) fn decide<T, E: Evidence<T>>(
    group: &[Seen<T>],
    evidence: &mut E,
) -> Result<Vec<Decision>, E::Error> {
    let proven = proven_by_digest(group, evidence)?;
    group
        .iter()
        .map(|seen| {
            let proof = proven.filter(|_| is_written_once(&seen.name));
            match proof.and_then(|manifest| recorded_in(manifest, seen)) {
                Some((key, md5)) => Ok(Decision::Reuse { key: key.clone(), md5, adopted: false }),
                None => decide_by_hash(seen, evidence),
            }
        })
        .collect()
}

fn is_written_once(name: &str) -> bool {
    generation(name).is_some_and(|(_, component)| WRITTEN_ONCE.contains(&component))
}

/// The newest manifest that names this very generation.
fn proven_by_digest<T, E: Evidence<T>>(
    group: &[Seen<T>],
    evidence: &mut E,
) -> Result<Option<usize>, E::Error> {
    let is_digest = |name: &str| generation(name).is_some_and(|(_, part)| part == DIGEST);
    let Some(digest) = group.iter().find(|seen| is_digest(&seen.name)) else { return Ok(None) };
    let mut ours = None;
    let newest_first = digest.named.iter().filter(|named| named.recorded);
    for named in newest_first.filter(|named| named.bytes == digest.bytes) {
        // A CRC has few bits: the sizes of all that it speaks for must be the same, too.
        let fits = |seen: &Seen<T>| {
            !is_written_once(&seen.name) || recorded_in(named.manifest, seen).is_some()
        };
        if !group.iter().all(fits) {
            continue;
        }
        let ours = match ours {
            Some(md5) => md5,
            None => *ours.insert(evidence.of_source(&digest.file)?),
        };
        if named.md5 == Some(ours) {
            return Ok(Some(named.manifest));
        }
    }
    Ok(None)
}

/// What a manifest names and hashes for a file, if the size is the file's.
fn recorded_in<T>(manifest: usize, seen: &Seen<T>) -> Option<(&ObjectKey, Md5)> {
    seen.named
        .iter()
        .filter(|named| named.manifest == manifest && named.recorded && named.bytes == seen.bytes)
        .find_map(|named| Some((&named.key, named.md5?)))
}

fn decide_by_hash<T, E: Evidence<T>>(
    seen: &Seen<T>,
    evidence: &mut E,
) -> Result<Decision, E::Error> {
    let in_place = seen.stored_bytes == Some(seen.bytes);
    let named: Vec<_> = seen.named.iter().filter(|named| named.bytes == seen.bytes).collect();
    let copy = Decision::Copy { taken: seen.stored_bytes.is_some() };
    if named.is_empty() && !in_place {
        return Ok(copy);
    }
    let md5 = evidence.of_source(&seen.file)?;
    // Those whose hash is on record first: they cost no reading.
    let (known, unknown): (Vec<&Named>, Vec<&Named>) =
        named.into_iter().partition(|named| named.md5.is_some());
    if let Some(named) = known.into_iter().find(|named| named.md5 == Some(md5)) {
        return Ok(Decision::Reuse { key: named.key.clone(), md5, adopted: false });
    }
    for named in unknown {
        if evidence.of_stored(&named.key)? == md5 {
            return Ok(Decision::Reuse { key: named.key.clone(), md5, adopted: false });
        }
    }
    let unnamed = seen.named.iter().all(|named| named.key != seen.place);
    if in_place && unnamed && evidence.of_stored(&seen.place)? == md5 {
        return Ok(Decision::Reuse { key: seen.place.clone(), md5, adopted: true });
    }
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    fn md5(content: &str) -> Md5 {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&crate_hash(content).to_be_bytes());
        Md5(bytes)
    }

    fn crate_hash(content: &str) -> u64 {
        content.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
        })
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey::parse(&format!("node1/data/ks/t-1/{name}")).unwrap()
    }

    /// A pool, and what was read of it and of the node.
    #[derive(Default)]
    struct World {
        stored: BTreeMap<ObjectKey, String>,
        /// Newest first; a hash that a manifest leaves out is none.
        manifests: Vec<BTreeMap<ObjectKey, Option<Md5>>>,
        read: Vec<String>,
    }

    impl Evidence<(String, String)> for World {
        type Error = Infallible;

        fn of_source(&mut self, (name, content): &(String, String)) -> Result<Md5, Infallible> {
            self.read.push(name.clone());
            Ok(md5(content))
        }

        fn of_stored(&mut self, key: &ObjectKey) -> Result<Md5, Infallible> {
            self.read.push(format!("stored {}", key.file_name()));
            Ok(md5(&self.stored[key]))
        }
    }

    impl World {
        fn see(&self, name: &str, content: &str) -> Seen<(String, String)> {
            let place = key(name);
            let hash = |key: &ObjectKey| {
                self.manifests.iter().find_map(|manifest| manifest.get(key).copied().flatten())
            };
            let mut named = Vec::new();
            for (manifest, objects) in self.manifests.iter().enumerate() {
                for (key, recorded) in objects.iter().filter(|(key, _)| key.file_name() == name) {
                    let Some(stored) = self.stored.get(key) else { continue };
                    named.push(Named {
                        manifest,
                        key: key.clone(),
                        bytes: stored.len() as u64,
                        md5: hash(key),
                        recorded: recorded.is_some() && *recorded == hash(key),
                    });
                }
            }
            Seen {
                file: (name.to_owned(), content.to_owned()),
                name: name.to_owned(),
                bytes: content.len() as u64,
                stored_bytes: self.stored.get(&place).map(|stored| stored.len() as u64),
                place,
                named,
            }
        }

        fn decide(&mut self, node: &[(&str, &str)]) -> Vec<Decision> {
            let group: Vec<_> =
                node.iter().map(|(name, content)| self.see(name, content)).collect();
            let Ok(decisions) = decide(&group, self);
            decisions
        }

        /// One more backup of ours, as decided.
        fn back_up(&mut self, node: &[(&str, &str)]) {
            let mut manifest = BTreeMap::new();
            for ((name, content), decision) in node.iter().zip(self.decide(node)) {
                let key = match decision {
                    Decision::Reuse { key, .. } => key,
                    Decision::Copy { taken: false } => key(name),
                    Decision::Copy { taken: true } => variant(name, content),
                };
                self.stored.entry(key.clone()).or_insert_with(|| (*content).to_owned());
                manifest.insert(key, Some(md5(content)));
            }
            self.manifests.insert(0, manifest);
            self.read.clear();
        }

        /// One more backup as Medusa makes it: reuses by size, else overwrites in place.
        fn back_up_by_medusa(&mut self, node: &[(&str, &str)]) {
            let mut manifest = BTreeMap::new();
            for (name, content) in node {
                let stored = self.stored.get(&key(name));
                let hash = if stored.is_some_and(|stored| stored.len() == content.len()) {
                    None
                } else {
                    self.stored.insert(key(name), (*content).to_owned());
                    Some(md5(content))
                };
                manifest.insert(key(name), hash);
            }
            self.manifests.insert(0, manifest);
        }
    }

    fn variant(name: &str, content: &str) -> ObjectKey {
        let hash = md5(content);
        ObjectKey::parse(&format!("node1/data/.medusafs/{hash}/v/{name}")).unwrap()
    }

    const NODE: [(&str, &str); 5] = [
        ("nb-1-big-Data.db", "rows of the first"),
        ("nb-1-big-Index.db", "index"),
        ("nb-1-big-Digest.crc32", "1234567890"),
        ("nb-1-big-Statistics.db", "unrepaired"),
        ("nb-1-big-TOC.txt", "toc"),
    ];

    #[test]
    fn unchanged_data_is_proven_by_its_small_files_alone() {
        let mut world = World::default();
        world.back_up(&NODE);
        let decisions = world.decide(&NODE);
        assert!(decisions.iter().all(|it| matches!(it, Decision::Reuse { adopted: false, .. })));
        let read = ["nb-1-big-Digest.crc32", "nb-1-big-Statistics.db", "nb-1-big-TOC.txt"];
        assert_eq!(world.read, read);
    }

    #[test]
    fn a_repaired_tables_statistics_become_a_variant_and_its_data_is_reused() {
        let mut world = World::default();
        world.back_up(&NODE);
        let mut repaired = NODE;
        repaired[3].1 = "isrepaired";
        let decisions = world.decide(&repaired);
        assert_eq!(decisions[3], Decision::Copy { taken: true });
        assert_eq!(decisions.iter().filter(|it| matches!(it, Decision::Reuse { .. })).count(), 4);
    }

    #[test]
    fn a_generation_number_that_began_anew_is_not_taken_for_the_old_one() {
        let mut world = World::default();
        world.back_up(&NODE);
        let mut anew = NODE;
        anew[0].1 = "rows of another";
        anew[2].1 = "0987654321";
        assert_eq!(world.decide(&anew)[0], Decision::Copy { taken: true });
        // And with the same size, too.
        anew[0].1 = "rows of the other";
        assert_eq!(world.decide(&anew)[0], Decision::Copy { taken: true });
    }

    #[test]
    fn medusas_reused_files_are_hashed_once_and_then_on_record() {
        let mut world = World::default();
        world.back_up_by_medusa(&NODE);
        world.back_up_by_medusa(&NODE);
        // The backup that recorded the hashes has been purged.
        world.manifests.pop();
        world.back_up(&NODE);
        let decisions = world.decide(&NODE);
        assert!(decisions.iter().all(|it| matches!(it, Decision::Reuse { .. })));
        assert!(world.read.iter().all(|read| !read.contains("Data.db")), "{:?}", world.read);
    }

    #[test]
    fn what_a_killed_backup_left_is_adopted_by_hash_only() {
        let mut world = World::default();
        world.stored.insert(key("nb-1-big-Data.db"), "rows of the first".into());
        world.stored.insert(key("nb-1-big-Index.db"), "INDEX".into());
        let decisions = world.decide(&NODE);
        assert!(matches!(decisions[0], Decision::Reuse { adopted: true, .. }));
        assert_eq!(decisions[1], Decision::Copy { taken: true });
        assert_eq!(decisions[2], Decision::Copy { taken: false });
    }

    #[test]
    fn data_of_one_generation_that_medusa_names_beside_the_digest_of_another_is_not_reused() {
        let mut world = World::default();
        world.back_up_by_medusa(&NODE);
        let mut anew = NODE;
        anew[0].1 = "rows of the other";
        anew[2].1 = "98765432";
        // Medusa keeps the old Data.db, of equal size, and replaces Digest.crc32.
        world.back_up_by_medusa(&anew);
        assert_eq!(world.decide(&anew)[0], Decision::Copy { taken: true });
    }

    #[test]
    fn an_sstable_name_has_a_generation_and_a_component() {
        assert_eq!(generation("nb-3-big-Data.db"), Some(("nb-3-big", "Data.db")));
        assert_eq!(
            generation("oa-1-big-SAI+aa+t_c_idx+Meta.db").unwrap().1,
            "SAI+aa+t_c_idx+Meta.db"
        );
        let uuid = "da-3gxi_0bxp_1ujgf2pnc6fuswtb3h-bti-Rows.db";
        assert_eq!(generation(uuid).unwrap().1, "Rows.db");
        assert_eq!(generation("backup.txt"), None);
    }

    proptest! {
        /// Whatever Medusa and we did before: what is reused has the node's own bytes.
        #[test]
        fn a_reused_object_always_has_the_content_of_the_file(
            history in proptest::collection::vec((0..3_u8, 0..4_u8, any::<bool>(), any::<bool>()), 1..8),
        ) {
            let mut world = World::default();
            for (data, statistics, by_medusa, purge) in history {
                // Equal and unequal sizes; the digest says which data it is.
                let rows = ["aaaa", "bbbb", "cccccc"][usize::from(data)];
                let digest = ["11", "222", "33"][usize::from(data)];
                let statistics = ["s", "t", "uu", "vv"][usize::from(statistics)];
                let node = [
                    ("nb-1-big-Data.db", rows),
                    ("nb-1-big-Digest.crc32", digest),
                    ("nb-1-big-Statistics.db", statistics),
                ];
                for ((name, content), decision) in node.iter().zip(world.decide(&node)) {
                    if let Decision::Reuse { key, md5: hash, .. } = decision {
                        prop_assert_eq!(&world.stored[&key], content, "{}", name);
                        prop_assert_eq!(hash, md5(content));
                    }
                }
                if by_medusa { world.back_up_by_medusa(&node) } else { world.back_up(&node) }
                if purge { world.manifests.pop(); }
            }
        }
    }
}

//! What a manifest says in sum, for judging a backup without keeping its files.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;

use crate::medusa::{FormatError, Layout, ManifestVisitor, Mode, RecordedHash, read_manifest};
use crate::model::{BackupName, ByteSize, Fqdn, ObjectKey};

use super::entry::{Entry, EntryNames, table_of};

/// More than any cluster has; a manifest made to fill the memory is not followed.
const MOST_KEYSPACES: usize = 10_000;

/// So many files are looked through for two with one name: 16 bytes each, while it is read.
const MOST_NAMES: usize = 1 << 20;

/// What a manifest says in sum.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ManifestFacts {
    pub(super) files: u64,
    pub(super) size: ByteSize,
    pub(super) keyspaces: BTreeSet<String>,
    /// None if it names no file, which any mode may.
    pub(super) mode: Option<Mode>,
    pub(super) refused: u64,
}

impl ManifestFacts {
    pub(super) fn read(
        manifest: impl Read,
        layout: &Layout,
        fqdn: &Fqdn,
        backup: &BackupName,
    ) -> Result<Self, FormatError> {
        let mut counting = Counting {
            facts: Self::default(),
            objects: 0,
            names: Vec::new(),
            of_section: Vec::new(),
            names_of: EntryNames::new(backup),
            layout,
            fqdn,
            node: layout.node(fqdn).ok(),
        };
        read_manifest(manifest, &mut counting)?;
        let collisions = collisions(counting.names);
        let mut facts = counting.facts;
        facts.refused = facts.refused.saturating_add(collisions);
        Ok(facts)
    }

    /// True if it is a backup of nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.files == 0
    }
}

struct Counting<'a> {
    facts: ManifestFacts,
    /// Of the section that is being read.
    objects: u64,
    /// Hashes of each file's table and name, and of where it lies.
    names: Vec<(u64, u64)>,
    /// Those of the section that is being read: its table is not known yet.
    of_section: Vec<Hashed>,
    names_of: EntryNames,
    layout: &'a Layout,
    fqdn: &'a Fqdn,
    node: Option<ObjectKey>,
}

/// An [`Entry`] as far as it takes to tell two apart.
struct Hashed {
    index: Option<u64>,
    name: u64,
    object: u64,
}

impl Counting<'_> {
    fn name(&mut self, key: &ObjectKey, size: u64) {
        let Some(Entry { index, name, .. }) = self.names_of.of(key) else { return };
        if self.names.len().saturating_add(self.of_section.len()) < MOST_NAMES {
            let (index, name) = (index.map(|index| hash_of(&index)), hash_of(&name));
            let object = hash_of(&(key.as_str(), size));
            self.of_section.push(Hashed { index, name, object });
        }
    }

    /// The section that was read is about this table.
    fn names_are_of(&mut self, keyspace: &str, columnfamily: &str) {
        let (table, own) = (hash_of(&(keyspace, columnfamily)), hash_of(&columnfamily));
        for Hashed { index, name, object } in self.of_section.drain(..) {
            let index = index.filter(|index| *index != own);
            self.names.push((hash_of(&(table, index, name)), object));
            // Nor may a file be called as the index's directory is.
            let directory = index.map(|index| (hash_of(&(table, None::<u64>, index)), 0));
            self.names.extend(directory);
        }
    }
}

fn hash_of(thing: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    thing.hash(&mut hasher);
    hasher.finish()
}

/// How many have the name of another that is not the same file.
fn collisions(mut names: Vec<(u64, u64)>) -> u64 {
    names.sort_unstable();
    names.dedup();
    let is_taken = |pair: &&[(u64, u64)]| matches!(pair, [(one, _), (other, _)] if one == other);
    u64::try_from(names.windows(2).filter(is_taken).count()).unwrap_or(u64::MAX)
}

impl ManifestVisitor for Counting<'_> {
    fn object(&mut self, path: &str, size: u64, _hash: RecordedHash) {
        self.objects = self.objects.saturating_add(1);
        self.facts.size.0 = self.facts.size.0.saturating_add(size);
        match self.layout.object_of(self.fqdn, path) {
            Ok(key) => {
                let mode = self.node.as_ref().map(|node| Mode::of_object(node, &key));
                self.facts.mode = self.facts.mode.max(mode);
                self.name(&key, size);
            }
            Err(_) => self.facts.refused = self.facts.refused.saturating_add(1),
        }
    }

    fn section(&mut self, keyspace: &str, columnfamily: &str) {
        let objects = std::mem::take(&mut self.objects);
        self.names_are_of(keyspace, columnfamily);
        self.facts.files = self.facts.files.saturating_add(objects);
        let known = self.facts.keyspaces.len();
        if table_of(keyspace, columnfamily).is_none() || known >= MOST_KEYSPACES {
            self.facts.refused = self.facts.refused.saturating_add(objects.max(1));
        } else if !self.facts.keyspaces.contains(keyspace) {
            self.facts.keyspaces.insert(keyspace.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::node_files_builder::NodeFilesBuilder;
    use proptest::prelude::*;
    use proptest::sample::select;

    type Section = (&'static str, &'static str, Vec<(String, u64)>);

    fn section() -> impl Strategy<Value = Section> {
        let keyspaces = vec!["k", "k", "k", "l", ".medusa", "manifest.json", "..", "a/b"];
        let tables = vec!["t-1", "t-1", "u-2", ".idx", "storage_nodes", "medusa-all-nodes"];
        let places = vec![
            "n1/data/k/t-1",
            "n1/data/k/t-1",
            "n1/all-nodes/data/k/t-1",
            "n1/data/k/t-1/.idx",
            "n1/data/k/t-1/storage_nodes",
            "n1/data/k/t-1/medusa-all-nodes",
            "n1/data/.medusafs/d1f12c37c9d318a711062bf4fee2ba71/v",
            "n1/data/.medusafs/d1f12c37c9d318a711062bf4fee2ba71/.idx",
            "n2/data/k/t-1",
        ];
        let names = vec!["a.db", "a.db", "b.db", ".idx", "storage_nodes"];
        let object = (select(places), select(names), 1_u64..3)
            .prop_map(|(place, name, size)| (format!("{place}/{name}"), size));
        (select(keyspaces), select(tables), prop::collection::vec(object, 0..4))
    }

    fn text(sections: &[Section]) -> String {
        let objects = |objects: &[(String, u64)]| -> Vec<_> {
            let object = |(path, size): &(String, u64)| {
                let md5 = "d1f12c37c9d318a711062bf4fee2ba71";
                serde_json::json!({ "path": path, "MD5": md5, "size": size })
            };
            objects.iter().map(object).collect()
        };
        let section = |(keyspace, table, of): &Section| {
            let objects = objects(of);
            serde_json::json!({ "keyspace": keyspace, "columnfamily": table, "objects": objects })
        };
        sections.iter().map(section).collect::<serde_json::Value>().to_string()
    }

    proptest! {
        /// What counts as complete must be shown and restored, every entry of it.
        #[test]
        fn a_manifest_is_taken_for_whole_just_when_every_entry_of_it_is_shown(
            sections in prop::collection::vec(section(), 0..4)
        ) {
            let (layout, fqdn) = (Layout::default(), Fqdn::parse("n1").unwrap());
            let backup = BackupName::parse("all-nodes").unwrap();
            let text = text(&sections);
            let facts = ManifestFacts::read(text.as_bytes(), &layout, &fqdn, &backup).unwrap();
            let (node, limit) = (layout.node(&fqdn).unwrap(), ByteSize(1 << 20));
            let mut builder =
                NodeFilesBuilder::new(&layout, &fqdn, &backup, node, true, limit);
            read_manifest(text.as_bytes(), &mut builder).unwrap();
            let files = builder.finish(Vec::new()).unwrap();
            prop_assert_eq!(facts.refused == 0, files.refused_count() == 0, "{}", text);
            if facts.refused == 0 {
                prop_assert_eq!(facts.mode.unwrap_or(Mode::Full), files.mode());
            }
        }
    }
}

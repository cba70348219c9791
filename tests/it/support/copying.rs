//! A small store in memory for what copies into `restore/`, and the answers it gives.

use std::collections::BTreeMap;
use std::sync::Arc;

use md5::Digest as _;
use medusafs::medusa::Layout;
use medusafs::model::{BackupName, Fqdn, Md5, ObjectKey};
use medusafs::staging::{
    Asked, Contents, Fact, Listing, Need, Refusal, Set, SnapshotId, Source, Wanted,
};

/// Stored objects, and the snapshots that name them.
#[derive(Default)]
pub(crate) struct Shelf {
    pub(crate) objects: BTreeMap<ObjectKey, Vec<u8>>,
    pub(crate) snapshots: BTreeMap<SnapshotId, BTreeMap<String, Wanted>>,
}

pub(crate) fn key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).unwrap()
}

pub(crate) fn snapshot(backup: &str, node: &str) -> SnapshotId {
    SnapshotId { backup: BackupName::parse(backup).unwrap(), node: Fqdn::parse(node).unwrap() }
}

pub(crate) fn md5(bytes: &[u8]) -> Md5 {
    Md5(md5::Md5::digest(bytes).into())
}

impl Shelf {
    /// Adds a file of a snapshot, stored under `at`.
    pub(crate) fn file(
        &mut self,
        of: &SnapshotId,
        path: &str,
        at: &str,
        bytes: &[u8],
        hashed: bool,
    ) {
        self.objects.insert(key(at), bytes.to_vec());
        let size = u64::try_from(bytes.len()).unwrap();
        let wanted = Wanted {
            key: key(at),
            size,
            md5: hashed.then(|| md5(bytes)),
            may_be_written_anew: Layout::default().may_be_written_anew(&key(at)),
        };
        self.snapshots.entry(of.clone()).or_default().insert(path.to_owned(), wanted);
    }

    /// Writes over an object of the pool, as Medusa does: manifests say what they said.
    pub(crate) fn write_over(&mut self, at: &str, bytes: &[u8]) {
        assert!(self.objects.insert(key(at), bytes.to_vec()).is_some(), "{at}");
    }

    /// Adds the four metadata files, the manifest saying `text`.
    pub(crate) fn metadata(&mut self, of: &SnapshotId, text: &str) {
        let SnapshotId { backup, node } = of;
        for name in medusafs::staging::METADATA {
            let at = format!("{node}/{backup}/meta/{name}");
            self.file(of, name, &at, format!("{name} {text}").as_bytes(), false);
        }
    }

    /// A backup of one node: a small keyspace with an empty file, an index and two tables; full
    /// backups have their own objects with hashes, differential ones those of the pool.
    pub(crate) fn backup(&mut self, backup: &str, node: &str, full: bool, version: u8) {
        let of = snapshot(backup, node);
        let pool = if full { format!("{node}/{backup}/data") } else { format!("{node}/data") };
        let mut files = vec![
            ("shop/orders-1/nb-1-big-Data.db".to_owned(), 40_usize),
            ("shop/orders-1/nb-1-big-Rows.db".to_owned(), 0),
            ("shop/orders-1/.by_day/nb-1-big-Data.db".to_owned(), 20),
        ];
        files.push((format!("shop/users-2/nb-{version}-big-Data.db"), 30));
        for (path, size) in files {
            let at = format!("{pool}/{path}");
            let bytes: Vec<u8> =
                at.bytes().cycle().zip(0_u8..).map(|(a, b)| a ^ b).take(size).collect();
            self.file(&of, &path, &at, &bytes, full);
        }
        self.metadata(&of, &format!("{backup} of {node}"));
    }

    pub(crate) fn ids(&self) -> Vec<SnapshotId> {
        self.snapshots.keys().cloned().collect()
    }

    pub(crate) fn contents(&self, id: &SnapshotId) -> Option<Arc<dyn Contents>> {
        let files = self.snapshots.get(id)?.clone();
        Some(Arc::new(Listing::new(files)))
    }

    /// The object that a path of a snapshot is.
    pub(crate) fn wanted(&self, id: &SnapshotId, path: &str) -> Wanted {
        self.snapshots[id][path].clone()
    }

    pub(crate) fn bytes(&self, id: &SnapshotId, path: &str) -> &[u8] {
        &self.objects[&self.wanted(id, path).key]
    }

    /// What copying from that object tells.
    pub(crate) fn source(&self, key: &ObjectKey) -> Source {
        let mut names = key.names();
        let node = Fqdn::parse(names.next().unwrap()).unwrap();
        let second = names.next().unwrap();
        let backup = (second != "data").then(|| BackupName::parse(second).unwrap());
        let size = u64::try_from(self.objects[key].len()).unwrap();
        Source { key: key.clone(), size, node, backup }
    }

    fn range(&self, key: &ObjectKey, start: u64, end: u64) -> Option<&[u8]> {
        let bytes = self.objects.get(key)?;
        bytes.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
    }

    /// Which of the objects have these bytes there.
    pub(crate) fn equal(&self, keys: &[ObjectKey], offset: u64, data: &[u8]) -> Vec<ObjectKey> {
        let end = offset + u64::try_from(data.len()).unwrap();
        keys.iter().filter(|key| self.range(key, offset, end) == Some(data)).cloned().collect()
    }

    /// Finds out what a set needs to know.
    pub(crate) fn answer(&self, need: Need) -> Fact {
        match need {
            Need::Contents(id) => {
                let contents = self.contents(&id).ok_or_else(|| Arc::from("it has gone"));
                Fact::Contents(id, contents)
            }
            Need::Manifest { size, md5: hash } => {
                let of = self.snapshots.iter().filter(|(id, _)| {
                    let bytes = self.bytes(id, "manifest.json");
                    u64::try_from(bytes.len()) == Ok(size) && md5(bytes) == hash
                });
                Fact::Manifest { size, md5: hash, of: of.map(|(id, _)| id.clone()).collect() }
            }
            Need::Digest { key, len } => {
                let found = self.range(&key, 0, len).map(md5);
                Fact::Digest { key, len, md5: found }
            }
            Need::Zeros { key, start, end } => {
                let zeros = self
                    .range(&key, start, end)
                    .is_some_and(|bytes| bytes.iter().all(|byte| *byte == 0));
                Fact::Zeros { key, start, end, zeros }
            }
            Need::Compare { .. } => unreachable!("only a write compares, and answers itself"),
        }
    }

    /// Calls until nothing more has to be found out.
    pub(crate) fn ask<T>(
        &self,
        set: &mut Set,
        mut call: impl FnMut(&mut Set) -> Result<Asked<T>, Refusal>,
    ) -> Result<T, Refusal> {
        for _ in 0..1000 {
            match call(set)? {
                Asked::Done(value) => return Ok(value),
                Asked::Need(need) => set.learn(self.answer(need)),
            }
        }
        unreachable!("the set asks for ever");
    }

    /// Writes, comparing where that is asked for.
    pub(crate) fn write(
        &self,
        set: &mut Set,
        id: medusafs::staging::FileId,
        offset: u64,
        data: &[u8],
    ) -> Result<(), Refusal> {
        let mut equal = None;
        for _ in 0..1000 {
            match set.write(id, offset, data, equal.as_deref())? {
                Asked::Done(()) => return Ok(()),
                Asked::Need(Need::Compare { keys }) => {
                    equal = Some(self.equal(&keys, offset, data));
                }
                Asked::Need(need) => set.learn(self.answer(need)),
            }
        }
        unreachable!("the set asks for ever");
    }

    /// Finds out all that is pending.
    pub(crate) fn settle(&self, set: &mut Set) {
        for _ in 0..1000 {
            match set.pending() {
                Some(need) => set.learn(self.answer(need)),
                None => return,
            }
        }
        unreachable!("the set asks for ever");
    }
}

//! A set against a plain file system: whatever order calls come in, it is whole just when the files
//! of a snapshot are really there.

use std::collections::{BTreeMap, BTreeSet};

use medusafs::staging::{FileId, Kind, Refusal, Set, SnapshotId, State};
use proptest::prelude::*;
use proptest::sample::Index;

use super::support::copying::{Shelf, snapshot};
use super::support::staging_calls::{Call, call};

/// What a plain file system would hold after the calls that were accepted.
#[derive(Default)]
struct Plain {
    names: BTreeMap<String, FileId>,
    bytes: BTreeMap<FileId, Vec<u8>>,
    handles: Vec<FileId>,
    /// Files whose `close` said that they are wrong, until they are changed.
    refused: BTreeSet<FileId>,
}

struct Play {
    shelf: Shelf,
    set: Set,
    plain: Plain,
    /// Where the snapshot is copied to: the top, or one directory down.
    below: &'static str,
}

fn no_bug(refusal: &Refusal) {
    assert!(!refusal.reason.is_empty());
}

fn size(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap()
}

fn put(bytes: &mut Vec<u8>, at: usize, data: &[u8]) {
    if bytes.len() < at + data.len() {
        bytes.resize(at + data.len(), 0);
    }
    bytes[at..at + data.len()].copy_from_slice(data);
}

impl Play {
    fn new(below: &'static str) -> Self {
        let mut shelf = Shelf::default();
        shelf.backup("full", "node1", true, 1);
        shelf.backup("diff1", "node1", false, 1);
        shelf.backup("diff2", "node1", false, 2);
        shelf.backup("diff2", "node2", false, 2);
        // Written anew after diff1, and shorter since.
        let statistics = "shop/orders-1/nb-1-big-Statistics.db";
        let at = format!("node1/data/{statistics}");
        shelf.file(&snapshot("diff1", "node1"), statistics, &at, b"unrepaired", true);
        shelf.file(&snapshot("diff2", "node1"), statistics, &at, b"repaired", true);
        let target = Some(medusafs::model::Fqdn::parse("node1").unwrap());
        let set = Set::new(target, shelf.ids());
        Self { shelf, set, plain: Plain::default(), below }
    }

    /// Every file of every snapshot: (snapshot, path).
    fn files(&self) -> Vec<(SnapshotId, String)> {
        let files = self.shelf.snapshots.iter();
        files.flat_map(|(id, files)| files.keys().map(|path| (id.clone(), path.clone()))).collect()
    }

    /// Names that tools make of those.
    fn name(&self, path: Index) -> String {
        let files = self.files();
        let choice = path.index(files.len() * 3);
        let (_, path) = &files[choice / 3];
        let (directory, file) = path.rsplit_once('/').map_or(("", path.as_str()), |(d, f)| (d, f));
        let slash = if directory.is_empty() { "" } else { "/" };
        let name = match choice % 3 {
            0 | 1 => path.clone(),
            _ => format!("{directory}{slash}.{file}.a1B2c3"),
        };
        format!("{}{name}", self.below)
    }

    fn directory(&mut self, path: &str) -> (FileId, String) {
        let mut at = Set::TOP;
        let mut names: Vec<&str> = path.split('/').collect();
        let last = names.pop().unwrap().to_owned();
        for name in names {
            at = match self.set.lookup(at, name).unwrap() {
                Some(entry) => entry.id,
                None => self.set.mkdir(at, name).unwrap(),
            };
        }
        (at, last)
    }

    fn open(&mut self, path: &str, truncate: bool) -> Option<FileId> {
        let (directory, name) = self.directory(path);
        let id = match self.plain.names.get(path).copied() {
            Some(id) => {
                self.set.open_for_writing(id).unwrap();
                if truncate {
                    self.truncate(id, 0);
                }
                id
            }
            None => match self.set.create(directory, &name) {
                Ok(id) => {
                    self.plain.names.insert(path.to_owned(), id);
                    self.plain.bytes.insert(id, Vec::new());
                    id
                }
                Err(refusal) => {
                    no_bug(&refusal);
                    return None;
                }
            },
        };
        self.plain.handles.push(id);
        Some(id)
    }

    fn write(&mut self, id: FileId, at: usize, data: &[u8]) -> bool {
        let offset = u64::try_from(at).unwrap();
        match self.shelf.write(&mut self.set, id, offset, data) {
            Ok(()) => {
                if !data.is_empty() {
                    self.plain.refused.remove(&id);
                    put(self.plain.bytes.get_mut(&id).unwrap(), at, data);
                }
                true
            }
            Err(refusal) => {
                assert_eq!(refusal.kind, Kind::WrongBytes);
                false
            }
        }
    }

    fn copy(&mut self, id: FileId, of: &(SnapshotId, String), at: usize, len: usize) {
        let key = self.shelf.wanted(&of.0, &of.1).key;
        let source = self.shelf.source(&key);
        let (from, wanted) = (u64::try_from(at).unwrap(), u64::try_from(len).unwrap());
        let copied = self.shelf.ask(&mut self.set, |set| set.copy(id, &source, from, from, wanted));
        match copied {
            Ok(taken) => {
                let stored = &self.shelf.objects[&key];
                let end = (at + len).min(stored.len());
                let range = stored.get(at..end).unwrap_or_default();
                assert_eq!(taken, size(range));
                if taken > 0 {
                    self.plain.refused.remove(&id);
                    put(self.plain.bytes.get_mut(&id).unwrap(), at, range);
                }
            }
            Err(refusal) => assert_eq!(refusal.kind, Kind::WrongBytes),
        }
    }

    fn truncate(&mut self, id: FileId, size: u64) {
        if self.shelf.ask(&mut self.set, |set| set.truncate(id, size)).is_ok() {
            self.plain.refused.remove(&id);
            self.plain.bytes.get_mut(&id).unwrap().resize(usize::try_from(size).unwrap(), 0);
        }
    }

    fn close(&mut self, at: usize) {
        self.flush(self.plain.handles[at]);
        self.set.release(self.plain.handles.remove(at));
    }

    fn flush(&mut self, id: FileId) {
        if let Err(refusal) = self.shelf.ask(&mut self.set, |set| set.flush(id)) {
            no_bug(&refusal);
            self.refuse(id);
        }
    }

    /// What is called wrong must be wrong, for the snapshot that the set is.
    fn refuse(&mut self, id: FileId) {
        self.plain.refused.insert(id);
        let Some(of) = self.set.report().snapshot else { return };
        for name in self.plain.names.iter().filter(|(_, file)| **file == id).map(|(name, _)| name) {
            let path = name.strip_prefix(self.below).unwrap();
            if self.shelf.snapshots[&of].contains_key(path) {
                let bytes = &self.plain.bytes[&id];
                assert_ne!(bytes, self.shelf.bytes(&of, path), "{name} is right for {of}");
            }
        }
    }

    fn rename(&mut self, from: &str, to: &str) {
        if !self.plain.names.contains_key(from) {
            return;
        }
        let (old, new) = (self.directory(from), self.directory(to));
        match self.set.rename((old.0, &old.1), (new.0, &new.1), false) {
            Ok(()) => {
                let id = self.plain.names.remove(from).unwrap();
                self.plain.names.insert(to.to_owned(), id);
            }
            Err(refusal) => no_bug(&refusal),
        }
    }

    fn link(&mut self, path: &str, of: &(SnapshotId, String)) {
        let key = self.shelf.wanted(&of.0, &of.1).key;
        let source = self.shelf.source(&key);
        let (directory, name) = self.directory(path);
        match self.set.link_object(&source, directory, &name) {
            Ok(id) => {
                self.plain.names.insert(path.to_owned(), id);
                self.plain.bytes.insert(id, self.shelf.objects[&key].clone());
            }
            Err(refusal) => no_bug(&refusal),
        }
    }

    /// Copies one file as a tool would, from making to closing.
    fn copied(&mut self, of: &(SnapshotId, String), way: u8) {
        let path = format!("{}{}", self.below, of.1);
        let bytes = self.shelf.bytes(&of.0, &of.1).to_vec();
        if way % 5 == 4 {
            return self.link(&path, of);
        }
        let temporary = way % 5 == 3;
        let name = match path.rsplit_once('/') {
            Some((directory, file)) => format!("{directory}/.{file}.q1w2e3"),
            None => format!(".{path}.q1w2e3"),
        };
        let opened = if temporary { &name } else { &path };
        let Some(id) = self.open(opened, true) else { return };
        if way.is_multiple_of(5) {
            self.copy(id, of, 0, usize::MAX);
        } else {
            let piece = usize::from(way / 5).max(1);
            for (number, data) in bytes.chunks(piece).enumerate() {
                self.write(id, number * piece, data);
            }
        }
        self.close(self.plain.handles.len() - 1);
        if temporary {
            self.rename(&name, &path);
        }
    }

    fn call(&mut self, call: Call) {
        let files = self.files();
        let of = |index: Index| files[index.index(files.len())].clone();
        let handle = |index: Index, play: &Self| {
            let open = play.plain.handles.len();
            (open > 0).then(|| index.index(open))
        };
        match call {
            Call::Open { path, truncate } => {
                let name = self.name(path);
                self.open(&name, truncate);
            }
            Call::Write { handle: h, of: o, from, len, garbled } => {
                let Some(at) = handle(h, self) else { return };
                let (id, from) = (self.plain.handles[at], usize::from(from));
                let stored = self.shelf.bytes(&of(o).0, &of(o).1);
                let end = (from + usize::from(len)).min(stored.len());
                let mut data = stored.get(from..end).unwrap_or_default().to_vec();
                if garbled && let Some(byte) = data.first_mut() {
                    *byte ^= 1;
                }
                self.write(id, from, &data);
            }
            Call::Stream { handle: h, of: o, piece, backwards } => {
                let Some(at) = handle(h, self) else { return };
                let id = self.plain.handles[at];
                let bytes = self.shelf.bytes(&of(o).0, &of(o).1).to_vec();
                let mut pieces: Vec<_> = bytes.chunks(usize::from(piece)).enumerate().collect();
                if backwards {
                    pieces.reverse();
                }
                for (number, data) in pieces {
                    self.write(id, number * usize::from(piece), data);
                }
            }
            Call::Copy { handle: h, of: o, from, len } => {
                let Some(at) = handle(h, self) else { return };
                self.copy(self.plain.handles[at], &of(o), usize::from(from), usize::from(len));
            }
            Call::CopyAll { handle: h, of: o } => {
                let Some(at) = handle(h, self) else { return };
                self.copy(self.plain.handles[at], &of(o), 0, 1000);
            }
            Call::Truncate { handle: h, size } => {
                let Some(at) = handle(h, self) else { return };
                self.truncate(self.plain.handles[at], u64::from(size));
            }
            Call::Flush { handle: h } => {
                let Some(at) = handle(h, self) else { return };
                self.flush(self.plain.handles[at]);
            }
            Call::Close { handle: h } => {
                if let Some(at) = handle(h, self) {
                    self.close(at);
                }
            }
            Call::Link { path, of: o } => {
                let name = self.name(path);
                self.link(&name, &of(o));
            }
            Call::LinkStaged { from, to } => {
                let (from, to) = (self.name(from), self.name(to));
                let Some(id) = self.plain.names.get(&from).copied() else { return };
                let (directory, name) = self.directory(&to);
                if let Ok(new) = self.set.link_staged(id, directory, &name) {
                    self.plain.names.insert(to, new);
                    let bytes = self.plain.bytes[&id].clone();
                    self.plain.bytes.insert(new, bytes);
                }
            }
            Call::Rename { from, to } => {
                let (from, to) = (self.name(from), self.name(to));
                self.rename(&from, &to);
            }
            Call::Unlink { path } => {
                let path = self.name(path);
                if self.plain.names.remove(&path).is_some() {
                    let (directory, name) = self.directory(&path);
                    self.set.unlink(directory, &name).unwrap();
                }
            }
            Call::Copied { of: o, which, way } => {
                // Mostly of one backup, so that sets do become whole.
                let (id, _) = of(o);
                let paths: Vec<_> = self.shelf.snapshots[&id].keys().cloned().collect();
                self.copied(&(id, paths[which.index(paths.len())].clone()), way);
            }
        }
    }

    /// The snapshots whose every file is there under its name with its bytes.
    fn there(&self) -> Vec<SnapshotId> {
        let holds = |id: &SnapshotId| {
            self.shelf.snapshots[id].keys().all(|path| {
                let name = format!("{}{path}", self.below);
                self.plain.names.get(&name).is_some_and(|file| {
                    !self.plain.refused.contains(file)
                        && self.plain.bytes[file] == self.shelf.bytes(id, path)
                })
            })
        };
        self.shelf.ids().into_iter().filter(holds).collect()
    }

    fn strangers(&self, of: &SnapshotId) -> bool {
        self.plain.names.keys().any(|name| {
            let path = name.strip_prefix(self.below).unwrap();
            let file = path.rsplit('/').next().unwrap();
            !file.starts_with('.') && !self.shelf.snapshots[of].contains_key(path)
        })
    }

    fn check(&mut self) {
        self.shelf.settle(&mut self.set);
        for (path, reason) in self.set.take_findings() {
            assert_ne!(reason, "");
            if let Some(id) = self.plain.names.get(&path).copied() {
                self.refuse(id);
            }
        }
        let report = self.set.report();
        let open = self.plain.handles.len();
        assert_eq!(usize::try_from(report.open_for_writing), Ok(open));
        let there = self.there();
        let wholes: Vec<_> = there.iter().filter(|id| !self.strangers(id)).collect();
        if report.state == State::Whole {
            let of = report.snapshot.clone().unwrap();
            assert!(wholes.contains(&&of), "whole, but {of} is not there");
            assert_eq!(open, 0, "whole, and a file is open for writing");
            assert_eq!(self.set.missing(10), Vec::<String>::new());
        } else if open == 0 {
            assert!(
                wholes.is_empty(),
                "{wholes:?} is there, and the set is {report:?}; it misses {:?}",
                self.set.missing(10)
            );
        }
        for (name, id) in &self.plain.names {
            let entry = self.set.entry(*id).unwrap();
            assert_eq!(self.set.find(name), Some(*id));
            let expected = medusafs::staging::EntryKind::File { size: size(&self.plain.bytes[id]) };
            assert_eq!(entry.kind, expected, "size of {name}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_set_is_whole_just_when_a_snapshot_is_really_there(
        calls in proptest::collection::vec(call(), 1..60),
        finish in any::<Index>(),
        way in any::<u8>(),
        deep in any::<bool>(),
    ) {
        let mut play = Play::new(if deep { "copy/" } else { "" });
        let mut records = Vec::new();
        for call in calls {
            play.call(call);
            play.check();
            records.extend(play.set.take_records());
        }
        // Then one `cp -r` runs to its end over whatever was left.
        while !play.plain.handles.is_empty() {
            play.close(0);
        }
        let ids = play.shelf.ids();
        let id = play.set.report().snapshot.unwrap_or_else(|| ids[finish.index(ids.len())].clone());
        for path in play.shelf.snapshots[&id].keys().cloned().collect::<Vec<_>>() {
            play.copied(&(id.clone(), path), way);
        }
        play.check();
        records.extend(play.set.take_records());

        // What was written down says the same after a restart.
        let target = Some(medusafs::model::Fqdn::parse("node1").unwrap());
        let mut again = Set::recall(target, play.shelf.ids(), records);
        play.shelf.settle(&mut again);
        let report = play.set.report();
        let whole = |state| state == State::Whole;
        prop_assert!(
            report.strangers > 0 || whole(again.report().state) == whole(report.state),
            "{report:?} is recalled as {:?}",
            again.report()
        );
    }
}

#[test]
fn a_copy_that_nobody_disturbs_is_whole_by_every_way_and_in_every_depth() {
    for below in ["", "copy/"] {
        for way in 0..60 {
            let mut play = Play::new(below);
            let id = snapshot("diff2", "node1");
            for path in play.shelf.snapshots[&id].keys().cloned().collect::<Vec<_>>() {
                assert_ne!(play.set.report().state, State::Whole);
                play.copied(&(id.clone(), path), way);
                play.check();
            }
            assert_eq!(play.set.report().state, State::Whole, "way {way} below {below:?}");
            assert_eq!(play.set.report().snapshot, Some(id));
        }
    }
}

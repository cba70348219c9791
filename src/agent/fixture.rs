//! A node's disk and a share, real files both, for tests.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::place::BackupPlace;
use super::protocol::{Hello, NodetoolSettings, Publish, RequestId, SnapshotTag, Upload};
use super::task::Task;
use crate::medusa::{Layout, Manifest, Mode};
use crate::model::{BackupName, Fqdn, JobId, UnixSeconds};
use crate::store::Store;

/// A table with an SSTable of each kind, and what Cassandra puts beside it.
pub(super) const ORDERS: &str = "shop/orders-1b255f4def2540a60000000000000005";

/// A node with one data directory, and an empty store.
pub(super) struct Fixture {
    folder: TempDir,
}

impl Fixture {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("store")).unwrap();
        fs::create_dir_all(folder.path().join("data")).unwrap();
        Self { folder }
    }

    pub(super) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(super) fn root(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    pub(super) fn place(&self, backup: &str) -> BackupPlace {
        let layout = Layout::new(None).unwrap();
        let temporary = layout.temporary(&job()).unwrap().join("node1.example.com").unwrap();
        BackupPlace {
            store: Store::open(&self.root()).unwrap(),
            drafts: temporary.join("agent-1").unwrap(),
            temporary,
            layout,
            node: Fqdn::parse("node1.example.com").unwrap(),
            backup: BackupName::parse(backup).unwrap(),
        }
    }

    /// What opens a conversation on this node. It has a nodetool that cannot be found.
    pub(super) fn hello(&self) -> Hello {
        let yaml = self.folder.path().join("cassandra.yaml");
        let text = format!(
            "data_file_directories: [{}]\ncommitlog_directory: /none\nhints_directory: /none\n\
             saved_caches_directory: /none\n",
            self.data().display()
        );
        fs::write(&yaml, text).unwrap();
        Hello {
            job: job(),
            store: self.root(),
            prefix: None,
            cassandra_yaml: yaml,
            medusa_ini: "/none".into(),
            resolve_ip_addresses: false,
            nodetool: NodetoolSettings {
                program: "/none".to_owned(),
                flags: Vec::new(),
                username: None,
                password: None,
                password_file: None,
                host: None,
                port: None,
                ssl: false,
            },
            storage_directory: None,
            share_seconds: 60,
        }
    }

    /// Puts a file into the live table; the next snapshot has it.
    pub(super) fn write(&self, table: &str, name: &str, content: &str) {
        let path = self.data().join(table).join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // A new inode, as Cassandra makes one: what a snapshot has stays as it is.
        drop(fs::remove_file(&path));
        fs::write(path, content).unwrap();
    }

    /// An SSTable whose `Digest.crc32` tells its data, as Cassandra's does.
    pub(super) fn sstable(&self, table: &str, generation: &str, rows: &str) {
        for (component, content) in [
            ("Data.db", rows.to_owned()),
            ("Index.db", format!("index of {rows}")),
            ("Filter.db", "filter".to_owned()),
            ("Digest.crc32", crc32fast::hash(rows.as_bytes()).to_string()),
            ("Statistics.db", "unrepaired".to_owned()),
            ("TOC.txt", "Data.db\nTOC.txt\n".to_owned()),
        ] {
            self.write(table, &format!("{generation}-{component}"), &content);
        }
    }

    /// Links what the live tables have into a snapshot, with Cassandra's list of it.
    pub(super) fn snapshot(&self, backup: &str) -> SnapshotTag {
        let tag = SnapshotTag::parse(&format!("medusafs-{backup}")).unwrap();
        for keyspace in fs::read_dir(self.data()).unwrap() {
            for table in fs::read_dir(keyspace.unwrap().path()).unwrap() {
                let table = table.unwrap().path();
                let to = table.join("snapshots").join(tag.as_str());
                let mut listed = Vec::new();
                fs::create_dir_all(&to).unwrap();
                for (from, below) in files_below(&table) {
                    if below.starts_with("snapshots") {
                        continue;
                    }
                    fs::create_dir_all(to.join(&below).parent().unwrap()).unwrap();
                    fs::hard_link(from, to.join(&below)).unwrap();
                    if below.ends_with("Data.db") {
                        listed.push(format!("{below:?}"));
                    }
                }
                let manifest = format!("{{ \"files\" : [ {} ] }}", listed.join(", "));
                fs::write(to.join("manifest.json"), manifest).unwrap();
            }
        }
        tag
    }

    pub(super) fn upload_request(&self, backup: &str, mode: Mode) -> Upload {
        let place = self.place(backup);
        Upload {
            tag: self.snapshot(backup),
            backup: place.backup,
            node: place.node,
            mode,
            threads: 4,
            bytes_per_second: 0,
        }
    }

    pub(super) fn publish_request(&self, backup: &str, mode: Mode) -> Publish {
        let place = self.place(backup);
        Publish {
            backup: place.backup,
            node: place.node,
            mode,
            started: UnixSeconds(1_795_364_040),
            tokenmap: r#"{"node1.example.com": {"tokens": [0], "is_up": true}}"#.into(),
            schema: "CREATE KEYSPACE shop;".into(),
            server_version: r#"{"server_type": "cassandra", "release_version": "5.0.6"}"#.into(),
        }
    }

    /// Every file of the store by its path, with its content.
    pub(super) fn stored(&self) -> BTreeMap<String, String> {
        let content = |path: PathBuf| String::from_utf8(fs::read(path).unwrap()).unwrap();
        files_below(&self.root()).into_iter().map(|(path, below)| (below, content(path))).collect()
    }

    /// What a published backup holds: the node's file and its content, by its name below the
    /// table, each checked against its hash.
    pub(super) fn restored(&self, backup: &str) -> BTreeMap<String, String> {
        let text = &self.stored()[&format!("node1.example.com/{backup}/meta/manifest.json")];
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        let mut files = BTreeMap::new();
        for section in manifest.sections {
            for object in section.objects {
                let content = fs::read_to_string(self.root().join(&object.path)).unwrap();
                let md5 = <md5::Md5 as md5::Digest>::digest(content.as_bytes());
                assert_eq!(object.hash.content().unwrap().0, <[u8; 16]>::from(md5));
                assert_eq!(object.size, content.len() as u64);
                let mut names = object.path.rsplit('/');
                let name = names.next().unwrap();
                let parent = names.next().filter(|parent| parent.starts_with('.'));
                let table = format!("{}/{}", section.keyspace, section.columnfamily);
                let name = parent.map_or(name.to_owned(), |parent| format!("{parent}/{name}"));
                files.insert(format!("{table}/{name}"), content);
            }
        }
        files
    }

    /// What the live tables have now, as [`Fixture::restored`] shows it.
    pub(super) fn live(&self) -> BTreeMap<String, String> {
        files_below(&self.data())
            .into_iter()
            .filter(|(_, below)| !below.contains("/snapshots/"))
            .map(|(path, below)| (below, fs::read_to_string(path).unwrap()))
            .collect()
    }
}

fn job() -> JobId {
    JobId::parse("20261122T161400Z-backup-one").unwrap()
}

/// A task that nobody listens to.
pub(super) fn task() -> Task {
    Task::new(RequestId(1), mpsc::channel(64).0, TaskTracker::new())
}

fn files_below(directory: &Path) -> Vec<(PathBuf, String)> {
    let (mut found, mut todo) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(at) = todo.pop() {
        for entry in fs::read_dir(at).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else {
                let below = path.strip_prefix(directory).unwrap().to_str().unwrap().to_owned();
                found.push((path, below));
            }
        }
    }
    found.sort();
    found
}

//! A node with real directories and owners, and a Cassandra that is played.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use medusafs::agent::restore::{Daemon, Directories, Listener, Order, Process, RestoreError};
use medusafs::model::{HandClock, UnixSeconds};
use parking_lot::Mutex;
use tempfile::TempDir;

use super::mortal::Life;
use super::node_share::{BACKUP, Share, Shares, UNCHANGED, content, put};

/// Nobody's user here; what is placed must become his.
pub(crate) const CASSANDRA: u32 = 4242;
const JOB: &str = "20261122T161400Z-restore-nightly";

/// What a directory entry is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mode: u32,
    /// None for a directory.
    pub(crate) content: Option<Vec<u8>>,
}

type Tree = BTreeMap<PathBuf, Found>;

fn walk(path: &Path, hidden: bool, tree: &mut Tree) {
    let Ok(found) = fs::symlink_metadata(path) else { return };
    let content = found.is_file().then(|| fs::read(path).unwrap());
    let (uid, gid, mode) = (found.uid(), found.gid(), found.mode() & 0o7777);
    tree.insert(path.to_owned(), Found { uid, gid, mode, content });
    if found.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            // What a start writes, and what the restore keeps.
            if (hidden || name != ".medusafs") && !name.starts_with("boot-") {
                walk(&entry.path(), hidden, tree);
            }
        }
    }
}

fn give_all(path: &Path) {
    chown(path, Some(CASSANDRA), Some(CASSANDRA)).unwrap();
    if path.is_dir() {
        fs::set_permissions(path, PermissionsExt::from_mode(0o750)).unwrap();
        for entry in fs::read_dir(path).unwrap() {
            give_all(&entry.unwrap().path());
        }
    } else {
        fs::set_permissions(path, PermissionsExt::from_mode(0o640)).unwrap();
    }
}

/// What the node holds now; the second data directory has `oa-1`.
const NOW: [&[(&str, &str)]; 2] = [
    &[
        ("system/local-7ad5/oa-5-big-Data.db", "local, now"),
        ("system/_paxos_repair_state/oa-1-big-Data.db", "paxos, now"),
        ("shop/orders-1/oa-2-big-Data.db", "orders two, as it is now"),
        ("shop/orders-1/snapshots/mine/oa-2-big-Data.db", "a snapshot"),
        ("shop/later-3/oa-1-big-Data.db", "a table made since"),
        ("newer/things-4/oa-1-big-Data.db", "a keyspace made since"),
    ],
    &[
        ("shop/orders-1/oa-1-big-Data.db", UNCHANGED),
        ("shop/orders-1/oa-1-big-Statistics.db", "statistics"),
        ("shop/orders-1/oa-1-big-Digest.crc32", "DIGEST"),
    ],
];

/// A node, removed when dropped.
pub(crate) struct Node {
    _homes: Vec<TempDir>,
    data: [PathBuf; 2],
    emptied: Vec<PathBuf>,
    cassandra: Arc<State>,
    share: Arc<Share>,
    clock: Arc<HandClock>,
}

impl Node {
    /// A node whose second data directory is another file system than the first.
    pub(crate) fn with_two_disks() -> Self {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir_in("/dev/shm").unwrap());
        let device = |home: &TempDir| fs::metadata(home.path()).unwrap().dev();
        assert_ne!(device(&one), device(&two), "two file systems are needed");
        Self::on(one, two)
    }

    /// The same where making things last costs nothing.
    pub(crate) fn with_two_disks_in_memory() -> Self {
        let home = || tempfile::tempdir_in("/dev/shm").unwrap();
        Self::on(home(), home())
    }

    fn on(one: TempDir, two: TempDir) -> Self {
        let data = [one.path().join("data"), two.path().join("data2")];
        for (root, files) in data.iter().zip(NOW) {
            let files: Vec<_> = files.iter().map(|(path, text)| (*path, content(text))).collect();
            put(root, &files.iter().map(|(path, text)| (*path, text.as_str())).collect::<Vec<_>>());
            give_all(root);
        }
        let emptied = vec![one.path().join("commitlog"), one.path().join("hints")];
        put(&emptied[0], &[("CommitLog-8-1.log", "a write"), ("CommitLog-8-2.log", "another")]);
        fs::create_dir_all(&emptied[1]).unwrap();
        for path in &emptied {
            give_all(path);
        }
        let cassandra = Arc::new(State {
            data: data.clone(),
            commit_log: emptied[0].clone(),
            whole: Mutex::default(),
            behaviour: Mutex::default(),
        });
        cassandra.behaviour.lock().begin();
        let whole = [cassandra.served(), restored()];
        cassandra.whole.lock().extend(whole);
        let share = Arc::new(Share::with_backup());
        let clock = Arc::new(HandClock::at(UnixSeconds(1_795_364_040)));
        Self { _homes: vec![one, two], data, emptied, cassandra, share, clock }
    }

    pub(crate) fn data(&self, number: usize) -> &Path {
        &self.data[number]
    }

    /// The first job's folder in a data directory.
    pub(crate) fn job_folder(&self, number: usize) -> PathBuf {
        self.data[number].join(".medusafs/backups").join(JOB)
    }

    pub(crate) fn directories(&self) -> Directories {
        let data = self.data.to_vec();
        Directories { data, local_system: None, emptied: self.emptied.clone() }
    }

    pub(crate) fn cassandra(&self) -> Arc<State> {
        Arc::clone(&self.cassandra)
    }

    pub(crate) fn share(&self) -> Arc<Shares> {
        Arc::new(Shares::of(&self.share))
    }

    pub(crate) fn clock(&self) -> Arc<HandClock> {
        Arc::clone(&self.clock)
    }

    pub(crate) fn days_pass(&self, days: i64) {
        use medusafs::model::Clock;
        self.clock.set(UnixSeconds(self.clock.now().0 + days * 86_400));
    }

    fn walked(&self, hidden: bool) -> Tree {
        let mut tree = Tree::new();
        for root in self.data.iter().chain(&self.emptied) {
            walk(root, hidden, &mut tree);
        }
        tree
    }

    /// Everything of Cassandra's, with owners and contents.
    pub(crate) fn tree(&self) -> Tree {
        self.walked(false)
    }

    /// The same with what restores keep.
    pub(crate) fn tree_with_hidden(&self) -> Tree {
        self.walked(true)
    }

    /// Where a fence stands, if one does.
    pub(crate) fn fence(&self) -> Option<PathBuf> {
        self.cassandra.unreadable_sstable()
    }

    pub(crate) fn power_cut(&self) {
        self.cassandra.kill();
    }

    /// An init system, a configuration tool, a person. What they serve must be whole; see
    /// [`State::start`].
    pub(crate) fn somebody_starts_cassandra(&self) {
        drop(self.cassandra.start());
    }

    pub(crate) fn cassandra_writes(&self, path: &str) {
        put(&self.data[0], &[(path, "written since")]);
        give_all(&self.data[0].join(path));
    }

    /// Whether the data directories hold what was restored, served or not.
    pub(crate) fn served_is_restored(&self) -> bool {
        self.cassandra.served() == restored()
    }

    pub(crate) fn assert_restored(&self) {
        assert!(self.fence().is_none());
        assert!(self.cassandra.serves(), "Cassandra does not serve");
        assert_eq!(self.cassandra.served(), restored());
        assert!(!self.emptied[0].join("CommitLog-8-1.log").exists(), "it would be replayed");
    }

    pub(crate) fn share_gives_nothing(&self) {
        self.share.gives_nothing();
    }

    pub(crate) fn share_garbles(&self, name: &str) {
        self.share.garbles(name);
    }

    pub(crate) fn share_writes_over(&self, path: &str, bytes: &[u8]) {
        self.share.writes_over(path, bytes);
    }

    pub(crate) fn share_hangs(&self) {
        self.share.hangs();
    }

    /// Whether a thread still has the share.
    pub(crate) fn is_share_in_use(&self) -> bool {
        Arc::strong_count(&self.share) > 1
    }

    pub(crate) fn share_answers_again(&self) {
        self.share.answers_again();
    }
}

/// What Cassandra serves: the live files by keyspace, table and name, whatever data directory they
/// are in.
type Served = BTreeMap<String, String>;

fn served(data: &[PathBuf]) -> Served {
    let mut served = Served::new();
    for root in data {
        let mut tree = Tree::new();
        walk(root, false, &mut tree);
        for (path, found) in tree {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            if let Some(content) = found.content
                && !name.contains("/snapshots/")
                && name.contains('/')
            {
                let known = served.insert(name, String::from_utf8(content).unwrap());
                assert_eq!(known, None, "a file is in two data directories");
            }
        }
    }
    served
}

fn restored() -> Served {
    // Keyspaces that the backup lacks stay as they are.
    let backup = BACKUP.iter().map(|(path, text, _)| ((*path).to_owned(), content(text)));
    let newer = NOW[0].iter().filter(|(path, _)| path.starts_with("newer/"));
    let newer = newer.map(|(path, text)| ((*path).to_owned(), content(text)));
    backup.chain(newer).collect()
}

#[derive(Debug, Default)]
struct Behaviour {
    /// The process's number; none if there is none.
    process: Option<i32>,
    /// Clients are taken.
    serves: bool,
    /// How many processes there have been.
    processes: i32,
    refuses_to_stop: bool,
    refuses_to_start: bool,
    /// For so many looks a process is seen that ends at the fence, whenever one was stopped.
    is_restarted_for: u32,
    restarted: u32,
}

impl Behaviour {
    fn begin(&mut self) {
        self.processes += 1;
        (self.process, self.serves) = (Some(self.processes), true);
    }
}

/// A Cassandra, across the lives of agents.
#[derive(Debug)]
pub(crate) struct State {
    data: [PathBuf; 2],
    commit_log: PathBuf,
    whole: Mutex<Vec<Served>>,
    behaviour: Mutex<Behaviour>,
}

impl State {
    pub(crate) fn is_running(&self) -> bool {
        self.behaviour.lock().process.is_some()
    }

    pub(crate) fn serves(&self) -> bool {
        let behaviour = self.behaviour.lock();
        behaviour.process.is_some() && behaviour.serves
    }

    pub(crate) fn kill(&self) {
        self.behaviour.lock().process = None;
    }

    /// A service manager starts it once more after each stop; it is seen for so many looks.
    pub(crate) fn is_restarted_for(&self, looks: u32) {
        self.behaviour.lock().is_restarted_for = looks;
    }

    pub(crate) fn refuses_to_stop(&self, refuses: bool) {
        self.behaviour.lock().refuses_to_stop = refuses;
    }

    pub(crate) fn refuses_to_start(&self, refuses: bool) {
        self.behaviour.lock().refuses_to_start = refuses;
    }

    fn served(&self) -> Served {
        served(&self.data)
    }

    /// A file that the real one would take for an SSTable that it cannot read.
    fn unreadable_sstable(&self) -> Option<PathBuf> {
        let named = self.data.iter().flat_map(|root| fs::read_dir(root).unwrap());
        let mut named = named.map(|entry| entry.unwrap().path());
        named.find(|path| path.to_str().unwrap().ends_with("-Data.db"))
    }

    /// Starts it, as the real one does: not with an unreadable SSTable, nor on closed directories.
    fn start(&self) -> io::Result<()> {
        let mut behaviour = self.behaviour.lock();
        if behaviour.process.is_some() {
            let drained = || io::Error::other("it takes no clients");
            return if behaviour.serves { Ok(()) } else { Err(drained()) };
        }
        if let Some(path) = self.unreadable_sstable() {
            return Err(io::Error::other(format!("unreadable sstable {}", path.display())));
        }
        for root in &self.data {
            let found = fs::metadata(root).unwrap();
            if found.uid() != CASSANDRA {
                return Err(io::Error::other(format!("cannot read {}", root.display())));
            }
        }
        if behaviour.refuses_to_start {
            return Err(io::Error::other("it was told not to"));
        }
        let (served, whole) = (self.served(), self.whole.lock());
        // The rest of the cluster may go back whole: then keyspaces made since are gone too.
        let same = |known: &Served| {
            let without = |it: &Served| {
                let kept = it.iter().filter(|(path, _)| !path.starts_with("newer/"));
                kept.map(|(path, text)| (path.clone(), text.clone())).collect::<Served>()
            };
            without(known) == without(&served)
        };
        assert!(whole.iter().any(same), "half a restore is served:\n{served:#?}");
        let boot = self.commit_log.join("boot-CommitLog-8-3.log");
        fs::write(&boot, "what a start writes")?;
        chown(&boot, Some(CASSANDRA), Some(CASSANDRA))?;
        behaviour.begin();
        Ok(())
    }
}

/// Cassandra, as an agent of limited life commands it.
pub(crate) struct PlayedCassandra {
    state: Arc<State>,
    life: Arc<Life>,
}

impl PlayedCassandra {
    pub(crate) fn new(state: Arc<State>, life: Arc<Life>) -> Self {
        Self { state, life }
    }

    fn spend(&self) -> Result<(), RestoreError> {
        self.life.spend().map_err(|error| refusal(&error))
    }
}

fn refusal(error: &io::Error) -> RestoreError {
    RestoreError::Cassandra { why: error.to_string(), source: None }
}

#[async_trait]
impl Daemon for PlayedCassandra {
    async fn process(&self) -> Result<Option<Process>, RestoreError> {
        let mut behaviour = self.state.behaviour.lock();
        let of = |pid| Process { pid, uid: CASSANDRA, started: 1, boot: String::new() };
        if behaviour.process.is_none() && behaviour.restarted > 0 {
            behaviour.restarted -= 1;
            return Ok(Some(of(-1)));
        }
        Ok(behaviour.process.map(of))
    }

    async fn drain(&self, _: Duration) -> Result<(), RestoreError> {
        self.spend()?;
        self.state.behaviour.lock().serves = false;
        Ok(())
    }

    async fn unit(&self) -> Option<String> {
        None
    }

    async fn bar(&self, _: &str) -> Result<(), RestoreError> {
        self.spend()
    }

    async fn unbar(&self, _: &str) -> Result<(), RestoreError> {
        self.spend()
    }

    async fn stop(&self, _: &Order) -> Result<(), RestoreError> {
        self.spend()?;
        if self.state.behaviour.lock().refuses_to_stop {
            return Err(refusal(&io::Error::other("Cassandra does not end")));
        }
        self.state.kill();
        let mut behaviour = self.state.behaviour.lock();
        behaviour.restarted = behaviour.is_restarted_for;
        Ok(())
    }

    async fn start(&self, _: &Order, _: &dyn Listener) -> Result<(), RestoreError> {
        self.spend()?;
        self.state.start().map_err(|error| refusal(&error))
    }

    async fn relabel(&self, _: Vec<PathBuf>) -> Result<(), RestoreError> {
        self.spend()
    }
}

//! `Copies` over a store in memory and restores that only write down what they were asked.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use medusafs::fs::copy_in::{Copies, CopyParts, RestoreOrder, RestoreWork, Stored};
use medusafs::fs::{Caller, CopyIn, CopySource, FsError, StagedParent, StoredSource};
use medusafs::model::{
    Clock, Fqdn, HandClock, JobId, JobKind, JobState, JobStatus, ObjectKey, Phase, Progress,
    STATUS_VERSION, UnixSeconds,
};
use medusafs::staging::{Fact, Need, SnapshotId, Source};
use medusafs::tasks::{Scope, Upkeep};
use medusafs::view::{Area, NodeBackupId, StagedId};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::copying::Shelf;

/// The store.
pub(crate) struct Memory(pub(crate) Shelf);

#[async_trait]
impl Stored for Memory {
    fn snapshots(&self) -> Vec<SnapshotId> {
        self.0.ids()
    }

    fn has(&self, id: &SnapshotId) -> bool {
        self.0.snapshots.contains_key(id)
    }

    fn source(&self, key: &ObjectKey, _size: u64, _seen_in: &SnapshotId) -> Source {
        self.0.source(key)
    }

    async fn find_out(&self, need: Need, _target: Option<&Fqdn>) -> Result<Fact, FsError> {
        Ok(self.0.answer(need))
    }

    async fn equal(
        &self,
        keys: Vec<ObjectKey>,
        offset: u64,
        bytes: Arc<Vec<u8>>,
    ) -> Result<Vec<ObjectKey>, FsError> {
        Ok(self.0.equal(&keys, offset, &bytes))
    }

    async fn read(&self, key: &ObjectKey, offset: u64, size: u32) -> Result<Vec<u8>, FsError> {
        let bytes = &self.0.objects[key];
        let from = usize::try_from(offset).unwrap().min(bytes.len());
        let to = (from + usize::try_from(size).unwrap()).min(bytes.len());
        Ok(bytes[from..to].to_vec())
    }
}

/// What a restore was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    Begin(RestoreOrder),
    Touched,
    Settled(UnixSeconds),
    Cancel(String),
    Commit(String),
    Undo,
}

/// Restores.
pub(crate) struct Restores {
    pub(crate) told: watch::Sender<Vec<Told>>,
    pub(crate) jobs: watch::Sender<Arc<Vec<JobStatus>>>,
    begun: Mutex<u32>,
    fails: AtomicBool,
    is_still_there: AtomicBool,
}

impl Restores {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            told: watch::Sender::new(Vec::new()),
            jobs: watch::Sender::new(Arc::default()),
            begun: Mutex::new(0),
            fails: AtomicBool::new(false),
            is_still_there: AtomicBool::new(false),
        })
    }

    fn say(&self, told: Told) {
        self.told.send_modify(|all| all.push(told));
    }

    /// The next time it is asked for something that takes a disk, the disk fails.
    pub(crate) fn fail_once(&self) {
        self.fails.store(true, Ordering::SeqCst);
    }

    /// The next undo finds the process of its job still there.
    pub(crate) fn is_still_there_once(&self) {
        self.is_still_there.store(true, Ordering::SeqCst);
    }

    fn disk(&self) -> Result<(), FsError> {
        if self.fails.swap(false, Ordering::SeqCst) {
            return Err(FsError::failed("cannot write", "the disk is broken"));
        }
        Ok(())
    }

    /// The newest job moves on.
    pub(crate) fn moves_to(&self, state: JobState) {
        self.jobs.send_modify(|jobs| Arc::make_mut(jobs).last_mut().unwrap().state = state);
    }

    /// A job of some restore that nobody here began.
    pub(crate) fn add_job(&self, id: &str, node: &str, state: JobState) {
        let job = JobStatus {
            version: STATUS_VERSION,
            id: JobId::parse(id).unwrap(),
            kind: JobKind::Restore,
            backup: medusafs::model::BackupName::parse("x").unwrap(),
            node: Some(Fqdn::parse(node).unwrap()),
            state,
            phase: Phase::Plan,
            progress: Progress::default(),
            bytes_per_second: None,
            eta_seconds: None,
            started: UnixSeconds(0),
            finished: None,
            unique_bytes: None,
            nodes: Vec::new(),
            error: String::new(),
            withdrawn: false,
            cause: None,
        };
        self.jobs.send_modify(|jobs| Arc::make_mut(jobs).push(job));
    }
}

impl RestoreWork for Restores {
    fn jobs(&self) -> watch::Receiver<Arc<Vec<JobStatus>>> {
        self.jobs.subscribe()
    }

    fn begin_restore(&self, order: &RestoreOrder) -> Result<JobId, FsError> {
        self.disk()?;
        let number = {
            let mut begun = self.begun.lock();
            *begun += 1;
            *begun
        };
        let id = format!("2026112{number}T000000Z-restore-{}", order.target);
        let job = JobId::parse(&id).unwrap();
        if !self.jobs.borrow().iter().any(|known| known.id == job) {
            self.add_job(&id, order.target.as_str(), JobState::Staging);
        }
        self.say(Told::Begin(order.clone()));
        Ok(job)
    }

    fn is_touched(&self, _job: &JobId) -> Result<(), FsError> {
        self.say(Told::Touched);
        Ok(())
    }

    fn is_settled(&self, _job: &JobId, since: UnixSeconds) -> Result<(), FsError> {
        self.disk()?;
        self.say(Told::Settled(since));
        Ok(())
    }

    fn cancel(&self, _job: &JobId, why: &str) -> Result<(), FsError> {
        self.say(Told::Cancel(why.to_owned()));
        self.moves_to(JobState::Cancelled);
        Ok(())
    }

    fn commit(&self, _job: &JobId, word: &str) -> Result<(), FsError> {
        self.say(Told::Commit(word.to_owned()));
        Ok(())
    }

    fn undo(&self, _job: &JobId) -> Result<(), FsError> {
        if self.is_still_there.swap(false, Ordering::SeqCst) {
            return Err(FsError::Busy("its process is still there".to_owned()));
        }
        self.say(Told::Undo);
        Ok(())
    }
}

/// Everything together.
pub(crate) struct CopyDesk {
    pub(crate) copies: Copies,
    pub(crate) memory: Arc<Memory>,
    pub(crate) restores: Arc<Restores>,
    pub(crate) clock: Arc<HandClock>,
    pub(crate) scope: Scope,
}

/// Nothing here takes long; what does not come until then never will.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const ROOT: Caller = Caller { uid: 0, gid: 0, pid: 1 };

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what} never came");
}

/// `restore/NODE`.
pub(crate) fn place(node: &str) -> StagedParent {
    StagedParent::Node(Area::Restore, Fqdn::parse(node).unwrap())
}

impl CopyDesk {
    /// Over a store with a full backup and two differential ones of two nodes.
    pub(crate) fn new(state_dir: &Path) -> Self {
        let mut shelf = Shelf::default();
        for node in ["node1", "node2"] {
            shelf.backup("full", node, true, 1);
            shelf.backup("diff1", node, false, 1);
            shelf.backup("diff2", node, false, 2);
        }
        Self::over(shelf, state_dir, Restores::new())
    }

    /// As after a restart of the mount, jobs living on.
    pub(crate) fn over(shelf: Shelf, state_dir: &Path, restores: Arc<Restores>) -> Self {
        Self::with(shelf, state_dir, restores, |parts| Copies::open(parts).unwrap())
    }

    /// On a mount that is read-only.
    pub(crate) fn looking(shelf: Shelf, state_dir: &Path, restores: Arc<Restores>) -> Self {
        Self::with(shelf, state_dir, restores, Copies::look)
    }

    fn with(
        shelf: Shelf,
        state_dir: &Path,
        restores: Arc<Restores>,
        open: impl FnOnce(CopyParts) -> Copies,
    ) -> Self {
        let memory = Arc::new(Memory(shelf));
        let clock = Arc::new(HandClock::at(UnixSeconds(1000)));
        let scope = Scope::new();
        let copies = open(CopyParts {
            stored: Arc::clone(&memory) as Arc<dyn Stored>,
            work: Arc::clone(&restores) as Arc<dyn RestoreWork>,
            clock: Arc::clone(&clock) as Arc<dyn Clock>,
            scope: scope.clone(),
            upkeep: Upkeep::default(),
            state_dir: state_dir.to_owned(),
            mountpoint: "/mnt/medusa".into(),
        });
        Self { copies, memory, restores, clock, scope }
    }

    pub(crate) fn shelf(&self) -> &Shelf {
        &self.memory.0
    }

    /// Where something of the store is copied from.
    pub(crate) fn stored(&self, of: &SnapshotId, path: &str) -> CopySource {
        let wanted = self.shelf().wanted(of, path);
        CopySource::Stored(StoredSource {
            key: wanted.key,
            size: wanted.size,
            seen_in: NodeBackupId::new(of.backup.clone(), of.node.clone()),
        })
    }

    pub(crate) fn bytes(&self, of: &SnapshotId, path: &str) -> Vec<u8> {
        self.shelf().bytes(of, path).to_vec()
    }

    pub(crate) fn paths(&self, of: &SnapshotId) -> Vec<String> {
        self.shelf().snapshots[of].keys().cloned().collect()
    }

    /// The directory of a path, made as `mkdir -p` does, and the last name.
    pub(crate) async fn directory(
        &self,
        caller: Caller,
        below: &StagedParent,
        path: &str,
    ) -> Result<(StagedParent, String), FsError> {
        let mut at = below.clone();
        let mut names: Vec<&str> = path.split('/').collect();
        let last = names.pop().unwrap().to_owned();
        for name in names {
            let id = match self.copies.lookup(&at, name) {
                Some(entry) => entry.id,
                None => self.copies.mkdir(caller, &at, name, 0o755).await?.id,
            };
            at = StagedParent::Inside(id);
        }
        Ok((at, last))
    }

    pub(crate) fn id(&self, below: &StagedParent, path: &str) -> Option<StagedId> {
        let mut at = below.clone();
        let mut id = None;
        for name in path.split('/') {
            let found = self.copies.lookup(&at, name)?.id;
            at = StagedParent::Inside(found);
            id = Some(found);
        }
        id
    }

    pub(crate) fn state(&self, node: &str) -> String {
        self.copies.set(&place(node)).map_or_else(|| "empty".to_owned(), |set| set.state)
    }

    pub(crate) fn begun(&self) -> Vec<RestoreOrder> {
        let told = self.restores.told.borrow();
        told.iter()
            .filter_map(|one| match one {
                Told::Begin(order) => Some(order.clone()),
                _ => None,
            })
            .collect()
    }

    pub(crate) async fn until_begun(&self, times: usize) {
        until("a restore", || self.begun().len() >= times).await;
        // The answer comes back a moment after the restore was asked for.
        until("its job", || {
            let set = self.copies.set(&place("node1"));
            set.is_none_or(|set| set.job.is_some() || set.state == "staging")
        })
        .await;
    }
}

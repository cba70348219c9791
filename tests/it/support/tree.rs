//! A file system without a kernel: a store made by hand, jobs that a test moves, and eyes.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use medusafs::catalog::{Catalog, CatalogSettings};
use medusafs::fs::{
    BackupBy, BackupOrder, Caller, CopyIn, Doing, FsError, FsParts, FsSettings, Handle, JobTable,
    JobText, LookedUp, LookingOnly, MedusaFs,
};
use medusafs::medusa::Layout;
use medusafs::model::{
    BackupName, Fqdn, HandClock, JobId, JobKind, JobState, JobStatus, Phase, Progress,
    STATUS_VERSION, UnixSeconds,
};
use medusafs::store::{BlockingPool, PoolLimits, Store};
use medusafs::tasks::Upkeep;
use medusafs::view::{Attr, Ino, ROOT, Rights};
use nix::errno::Errno;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::sync::watch;

/// The table that every backup of a made store has, and one that is empty.
pub(crate) const ORDERS: &str = "orders-1b255f4def2540a60000000000000005";
pub(crate) const EMPTY: &str = "nothing-3b255f4def2540a60000000000000007";

/// When the tests' clock stands.
pub(crate) const NOW: UnixSeconds = UnixSeconds(1_795_364_040);

/// A store below a directory that goes away.
pub(crate) struct Made {
    pub(crate) directory: TempDir,
    nodes: Vec<String>,
}

/// Content of the file number `number` of a table.
pub(crate) fn content(node: &str, number: usize) -> String {
    format!("{node} {number} {}", "x".repeat(number % 700))
}

impl Made {
    /// Nothing but the directory.
    pub(crate) fn empty(nodes: &[&str]) -> Self {
        let nodes = nodes.iter().map(|node| (*node).to_owned()).collect();
        Self { directory: tempfile::tempdir().unwrap(), nodes }
    }

    /// Two differential backups of two nodes, which share all files, and a full one.
    pub(crate) fn usual() -> Self {
        let made = Self::empty(&["n1", "n2"]);
        made.backup("old", 1_795_000_000, false, 9);
        made.backup("new", 1_795_100_000, false, 9);
        made.backup("whole", 1_795_050_000, true, 3);
        made
    }

    pub(crate) fn root(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn write(&self, path: &str, content: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub(crate) fn backup(&self, name: &str, started: i64, full: bool, files: usize) {
        for node in &self.nodes {
            self.node(name, node, started, full, files);
        }
    }

    /// One node's part: `files` files of `shop.orders`, one of its index, and an empty table.
    pub(crate) fn node(&self, name: &str, node: &str, started: i64, full: bool, files: usize) {
        let data = if full { format!("{node}/{name}/data") } else { format!("{node}/data") };
        let table = format!("{data}/shop/{ORDERS}");
        let mut objects = Vec::new();
        let mut add = |path: String, content: &str| {
            self.write(&path, content);
            objects
                .push(format!(r#"{{"path": "{path}", "MD5": null, "size": {}}}"#, content.len()));
        };
        for number in 0..files {
            add(format!("{table}/nb-{number}-big-Data.db"), &content(node, number));
        }
        add(format!("{table}/.by_customer/nb-1-big-Data.db"), "index");
        let manifest = format!(
            r#"[{{"keyspace": "shop", "columnfamily": "{ORDERS}", "objects": [{}]}}, {{"keyspace": "shop", "columnfamily": "{EMPTY}", "objects": []}}]"#,
            objects.join(", ")
        );
        self.publish(name, node, started, full, &manifest);
    }

    /// A node's meta files and index, with this manifest.
    pub(crate) fn publish(&self, name: &str, node: &str, started: i64, full: bool, manifest: &str) {
        let (meta, index) = (format!("{node}/{name}/meta"), format!("index/backup_index/{name}"));
        let schema = "CREATE TABLE shop.orders (a int PRIMARY KEY);";
        let tokenmap = self.tokenmap();
        self.write(&format!("{meta}/schema.cql"), schema);
        self.write(&format!("{meta}/tokenmap.json"), &tokenmap);
        self.write(
            &format!("{meta}/server_version.json"),
            r#"{"server_type": "cassandra", "release_version": "5.0.6"}"#,
        );
        self.write(&format!("{meta}/manifest.json"), manifest);
        self.write(&format!("{index}/tokenmap_{node}.json"), &tokenmap);
        self.write(&format!("{index}/schema_{node}.cql"), schema);
        self.write(&format!("{index}/started_{node}_{started}.timestamp"), &started.to_string());
        if !full {
            self.write(&format!("{meta}/differential"), "differential");
            self.write(&format!("{index}/differential_{node}"), "differential");
        }
        self.write(&format!("{index}/manifest_{node}.json"), manifest);
        self.write(&format!("{index}/finished_{node}_{}.timestamp", started + 60), "x");
    }

    fn tokenmap(&self) -> String {
        let mut text = String::new();
        for (number, node) in self.nodes.iter().enumerate() {
            let comma = if number > 0 { ", " } else { "" };
            write!(
                text,
                r#"{comma}"{node}": {{"tokens": [{number}], "is_up": true, "rack": "r", "dc": "d"}}"#
            )
            .unwrap();
        }
        format!("{{{text}}}")
    }
}

/// Jobs that a test moves by hand.
pub(crate) struct HandJobs {
    pub(crate) table: watch::Sender<JobTable>,
    pub(crate) orders: Mutex<Vec<BackupOrder>>,
    pub(crate) cancelled: Mutex<Vec<JobId>>,
    pub(crate) forgotten: Mutex<Vec<JobId>>,
    /// If it is there, the reason for which no job is forgotten.
    pub(crate) keeps: Mutex<Option<String>>,
    pub(crate) ring: Mutex<Option<Vec<Fqdn>>>,
    /// If there is one, this host's disk hangs until its other end is dropped.
    pub(crate) hangs: Mutex<Option<mpsc::Receiver<()>>>,
    pub(crate) log: PathBuf,
}

impl HandJobs {
    pub(crate) fn new(log: PathBuf) -> Arc<Self> {
        Arc::new(Self {
            table: watch::Sender::new(JobTable::default()),
            orders: Mutex::default(),
            cancelled: Mutex::default(),
            forgotten: Mutex::default(),
            keeps: Mutex::default(),
            ring: Mutex::default(),
            hangs: Mutex::default(),
            log,
        })
    }

    pub(crate) fn show(&self, jobs: Vec<JobStatus>) {
        self.table.send_replace(Arc::new(jobs));
    }
}

/// A job of the cluster that makes the backup `name`.
pub(crate) fn job(name: &str, state: JobState) -> JobStatus {
    JobStatus {
        version: STATUS_VERSION,
        id: JobId::new(NOW, JobKind::Backup, name).unwrap(),
        kind: JobKind::Backup,
        backup: BackupName::parse(name).unwrap(),
        node: None,
        state,
        phase: Phase::Copy,
        progress: Progress::default(),
        bytes_per_second: None,
        eta_seconds: None,
        started: NOW,
        finished: None,
        unique_bytes: None,
        nodes: Vec::new(),
        error: String::new(),
        withdrawn: false,
        cause: None,
    }
}

impl Doing for HandJobs {
    fn jobs(&self) -> watch::Receiver<JobTable> {
        self.table.subscribe()
    }

    fn ring(&self) -> Option<Vec<Fqdn>> {
        self.ring.lock().clone()
    }

    fn begin_backup(&self, order: &BackupOrder) -> Result<JobId, FsError> {
        if let Some(hangs) = self.hangs.lock().take() {
            hangs.recv().unwrap_err();
        }
        self.orders.lock().push(order.clone());
        Ok(JobId::new(NOW, JobKind::Backup, order.name.as_str()).unwrap())
    }

    fn cancel(&self, job: &JobId, _why: &str) -> Result<(), FsError> {
        self.cancelled.lock().push(job.clone());
        Ok(())
    }

    fn forget(&self, jobs: &[JobId]) -> Result<(), FsError> {
        if let Some(why) = &*self.keeps.lock() {
            return Err(FsError::Busy(why.clone()));
        }
        self.forgotten.lock().extend_from_slice(jobs);
        Ok(())
    }

    fn open_text(&self, _job: &JobId, _text: JobText) -> io::Result<File> {
        File::open(&self.log)
    }
}

/// What differs from the usual.
pub(crate) struct With {
    pub(crate) rights: Rights,
    pub(crate) backup: BackupBy,
    pub(crate) pool: PoolLimits,
    pub(crate) deadline: Duration,
    pub(crate) restores: bool,
    /// What is copied in, if anything can be.
    pub(crate) copy_in: Option<Arc<dyn CopyIn>>,
}

impl Default for With {
    fn default() -> Self {
        Self {
            rights: Rights::default(),
            backup: BackupBy::Mkdir,
            pool: PoolLimits::default(),
            deadline: Duration::from_secs(20),
            restores: true,
            copy_in: None,
        }
    }
}

/// A file system over a store, and everything about it.
pub(crate) struct Eyes {
    pub(crate) fs: Arc<MedusaFs>,
    pub(crate) jobs: Arc<HandJobs>,
    pub(crate) catalog: Catalog,
}

pub(crate) const ME: Caller = Caller { uid: 0, gid: 0, pid: 0 };

/// This process, as an ordinary user.
pub(crate) fn user(uid: u32) -> Caller {
    Caller { uid, gid: uid, pid: 0 }
}

/// What the tree looks like to a test: by paths, one call after the other.
impl Eyes {
    pub(crate) async fn on(made: &Made) -> Self {
        Self::with(made, With::default()).await
    }

    pub(crate) async fn with(made: &Made, with: With) -> Self {
        let store = Store::open(made.root()).unwrap();
        let catalog = Catalog::new(store, Layout::new(None).unwrap(), CatalogSettings::default());
        Self::over(catalog, with, made.root().join(".log")).await
    }

    pub(crate) async fn over(catalog: Catalog, with: With, log: PathBuf) -> Self {
        let jobs = HandJobs::new(log);
        let fs = MedusaFs::new(FsParts {
            catalog: catalog.clone(),
            pool: BlockingPool::new(with.pool),
            doing: Arc::clone(&jobs) as Arc<dyn Doing>,
            copy_in: with.copy_in.unwrap_or_else(|| Arc::new(LookingOnly::new())),
            clock: Arc::new(HandClock::at(NOW)),
            upkeep: Upkeep::default(),
            settings: FsSettings {
                rights: with.rights,
                backup: with.backup,
                restores: with.restores,
                state_dir: PathBuf::from("/var/lib/medusafs"),
                medusa_writes_too: true,
                deadline: with.deadline,
                config: String::new(),
            },
        });
        let eyes = Self { fs: Arc::new(fs), jobs, catalog };
        eyes.look().await;
        eyes
    }

    /// Looks at the share until all is known of it.
    pub(crate) async fn look(&self) {
        for _round in 0..=2 * self.catalog.backups().len() {
            drop(self.fs.refresh().await);
        }
    }

    pub(crate) async fn attr_as(&self, who: Caller, path: &str) -> Result<Attr, Errno> {
        let mut attr = self.fs.getattr(who, ROOT).await.map_err(|e| e.errno())?.attr;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let looked = self.fs.lookup(who, attr.ino, OsStr::new(name)).await;
            match looked.map_err(|error| error.errno())? {
                LookedUp::Found(found) => attr = found.attr,
                LookedUp::Absent(_) => return Err(Errno::ENOENT),
            }
        }
        Ok(attr)
    }

    pub(crate) async fn attr(&self, path: &str) -> Result<Attr, Errno> {
        self.attr_as(ME, path).await
    }

    pub(crate) async fn ino(&self, path: &str) -> Ino {
        self.attr(path).await.map_err(|errno| format!("{path}: {errno}")).unwrap().ino
    }

    /// The names in a directory, in the order they come.
    pub(crate) async fn names(&self, path: &str) -> Vec<String> {
        let ino = self.ino(path).await;
        let open = self.fs.opendir(ME, ino).await.unwrap();
        let mut names = Vec::new();
        self.fs
            .list(open.handle, 0, &mut |_next, _ino, _kind, name| {
                names.push(name.to_str().unwrap().to_owned());
                false
            })
            .unwrap();
        self.fs.releasedir(open.handle);
        assert_eq!(names[..2], [".", ".."]);
        names.split_off(2)
    }

    pub(crate) async fn open(&self, path: &str) -> Result<Handle, Errno> {
        let ino = self.attr(path).await?.ino;
        let opened = self.fs.open(ME, ino, false).await;
        opened.map(|opened| opened.handle).map_err(|error| error.errno())
    }

    /// All of a file.
    pub(crate) async fn text_as(&self, who: Caller, path: &str) -> Result<String, Errno> {
        let ino = self.attr_as(who, path).await?.ino;
        let handle = self.fs.open(who, ino, false).await.map_err(|e| e.errno())?.handle;
        let mut text = Vec::new();
        loop {
            let offset = u64::try_from(text.len()).unwrap();
            let more = self.fs.read(who, handle, offset, 4096).await;
            let more = more.map_err(|error| error.errno())?;
            if more.is_empty() {
                self.fs.release(handle).await;
                return Ok(String::from_utf8(text).unwrap());
            }
            text.extend(more);
        }
    }

    pub(crate) async fn text(&self, path: &str) -> Result<String, Errno> {
        self.text_as(ME, path).await
    }

    /// `echo VALUE > PATH`.
    pub(crate) async fn tell(&self, path: &str, value: &str) -> Result<(), Errno> {
        let ino = self.attr(path).await?.ino;
        let opened = self.fs.open(ME, ino, true).await.map_err(|e| e.errno())?;
        let bytes = format!("{value}\n").into_bytes();
        let written = self.fs.write(ME, opened.handle, 0, bytes).await;
        self.fs.release(opened.handle).await;
        written.map(|_| ()).map_err(|error| error.errno())
    }

    pub(crate) async fn mkdir_as(&self, who: Caller, path: &str) -> Result<Attr, Errno> {
        let (parent, name) = path.rsplit_once('/').unwrap();
        let parent = self.ino(parent).await;
        let made = self.fs.mkdir(who, parent, OsStr::new(name), 0o755).await;
        made.map(|found| found.attr).map_err(|error| error.errno())
    }

    pub(crate) async fn mkdir(&self, path: &str) -> Result<Attr, Errno> {
        self.mkdir_as(ME, path).await
    }
}

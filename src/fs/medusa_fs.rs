//! The file system: what it is made of, and what every call needs.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use parking_lot::Mutex;
use parking_lot::RwLock;
use tokio::sync::watch;

use crate::catalog::Catalog;
use crate::medusa::Layout;
use crate::model::Clock;
use crate::model::UnixSeconds;
use crate::observe::ErrorChain;
use crate::store::BlockingPool;
use crate::store::PoolLimits;
use crate::store::Store;
use crate::tasks::Upkeep;
use crate::view::Ino;
use crate::view::Inodes;
use crate::view::Known;
use crate::view::Loaded;
use crate::view::NodeBackupId;
use crate::view::Rights;
use crate::view::StagedId;
use crate::view::Tree;
use crate::view::ViewPath;
use crate::view::World;

use super::Caller;
use super::CopyIn;
use super::Doing;
use super::FsError;
use super::JobTable;
use super::Statfs;
use super::begun::Begun;
use super::facts::Facts;
use super::handles::Handles;
use super::in_time::CALL;
use super::in_time::in_time;
use super::listing::Listing;
use super::open::OpenFile;
use super::refresh::Share;
use super::refresh::Shown;
use super::refusals::Refusal;
use super::refusals::Refusals;
use super::tables::KnownTables;

/// How many files may be open at once, and how many directories.
const OPEN_LIMIT: usize = 16_384;

/// By what means a backup may be begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupBy {
    /// By `mkdir`.
    Mkdir,
    /// By the command line only.
    Command,
    /// Not from this host.
    Off,
    /// There is no cluster: the tree is for looking only.
    NoCluster,
}

/// What the file system is told by the configuration.
#[derive(Debug, Clone)]
pub struct FsSettings {
    /// Who may do what.
    pub rights: Rights,
    /// By what means a backup may be begun.
    pub backup: BackupBy,
    /// Whether this host restores at all: `restore` is not `off`.
    pub restores: bool,
    /// This host's own directory, for a message about its disk.
    pub state_dir: PathBuf,
    /// Whether Medusa writes to this store too, so that names must not begin one another.
    pub medusa_writes_too: bool,
    /// How long the share may take to answer.
    pub deadline: Duration,
    /// The text of `/.medusa/config`: every setting and its origin, without secrets.
    pub config: String,
}

/// What the file system works with.
pub struct FsParts {
    /// What is on the share.
    pub catalog: Catalog,
    /// Where calls to it wait.
    pub pool: BlockingPool,
    /// Jobs.
    pub doing: Arc<dyn Doing>,
    /// What is copied in.
    pub copy_in: Arc<dyn CopyIn>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What keeps the tree up to date, for `/status`.
    pub upkeep: Upkeep,
    /// The configuration's part.
    pub settings: FsSettings,
}

/// What the calls mean, without a kernel.
pub struct MedusaFs {
    pub(super) store: Store,
    pub(super) catalog: Catalog,
    pub(super) pool: BlockingPool,
    /// Where calls to this host's own disk wait: never behind those to the share.
    host: BlockingPool,
    pub(super) upkeep: Upkeep,
    pub(super) doing: Arc<dyn Doing>,
    pub(super) copy_in: Arc<dyn CopyIn>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) settings: FsSettings,
    pub(super) mounted: UnixSeconds,
    pub(super) inodes: Inodes,
    pub(super) files: Handles<OpenFile>,
    pub(super) directories: Handles<Listing>,
    pub(super) facts: Facts,
    pub(super) tables: KnownTables,
    /// Stored files that were found written over in place, until the kernel is told.
    pub(super) written_anew: Mutex<BTreeSet<Ino>>,
    pub(super) begun: Arc<Mutex<Begun>>,
    /// Until then no backup is looked into: the share did not answer.
    pub(super) not_looked_before: Mutex<Option<Instant>>,
    pub(super) share: RwLock<Share>,
    pub(super) space: RwLock<Statfs>,
    pub(super) shown: Mutex<BTreeMap<String, Shown>>,
    /// Held while backups are looked into.
    pub(super) looking_into: Arc<tokio::sync::Mutex<()>>,
    jobs: watch::Receiver<JobTable>,
    refusals: Refusals,
}

impl std::fmt::Debug for MedusaFs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MedusaFs").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl MedusaFs {
    /// A file system over a store. It shows nothing until it is first refreshed.
    pub fn new(parts: FsParts) -> Self {
        let FsParts { catalog, pool, doing, copy_in, clock, upkeep, settings } = parts;
        let store = catalog.store().clone();
        let mounted = clock.now();
        let secret = secret_of(&store, catalog.layout());
        let jobs = doing.jobs();
        Self {
            store,
            catalog,
            pool,
            host: BlockingPool::new(PoolLimits { threads: 4, hung: 16, queue: 1024 }),
            upkeep,
            doing,
            copy_in,
            clock,
            settings,
            mounted,
            inodes: Inodes::new(secret),
            files: Handles::new(OPEN_LIMIT),
            directories: Handles::new(OPEN_LIMIT),
            facts: Facts::default(),
            tables: KnownTables::default(),
            written_anew: Mutex::default(),
            begun: Arc::default(),
            not_looked_before: Mutex::default(),
            share: RwLock::default(),
            space: RwLock::default(),
            shown: Mutex::default(),
            looking_into: Arc::default(),
            jobs,
            refusals: Refusals::default(),
        }
    }

    /// The jobs, and when they change.
    pub fn jobs(&self) -> watch::Receiver<JobTable> {
        self.jobs.clone()
    }

    /// The kernel forgets some of what it was told about an inode.
    pub fn forget(&self, ino: Ino, lookups: u64) {
        self.inodes.forget(ino, lookups);
    }

    /// What the tree is made of now. From memory.
    pub(super) fn world(&self) -> World {
        let jobs = Arc::clone(&self.jobs.borrow());
        let begun = self.begun.lock();
        World {
            backups: self.catalog.backups(),
            asked: begun.asked_and_not_among(&jobs),
            jobs,
            withdrawn: begun.withdrawn(),
            ring: self.share.read().ring.clone(),
            tables: self.tables.known(),
            now: self.clock.now(),
            mounted: self.mounted,
        }
    }

    /// Does something that waits for the share, where that may take long.
    pub(super) async fn on_share<T, E>(
        &self,
        doing: String,
        work: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<T, FsError>
    where
        T: Send + 'static,
        E: Send + 'static,
        FsError: From<E>,
    {
        Ok(self.pool.run(self.settings.deadline, doing, work).await??)
    }

    /// Does something on this host's disk, within what a call may take.
    pub(super) async fn on_disk<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&dyn Doing) -> Result<T, FsError> + Send + 'static,
    ) -> Result<T, FsError> {
        self.on_disk_or_back(doing, work, |_doing, _done| {}).await
    }

    /// The same; what is done too late is taken back.
    pub(super) async fn on_disk_or_back<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&dyn Doing) -> Result<T, FsError> + Send + 'static,
        take_back: impl FnOnce(&dyn Doing, T) + Send + 'static,
    ) -> Result<T, FsError> {
        let (jobs, later) = (Arc::clone(&self.doing), Arc::clone(&self.doing));
        let (does, back) = (move || work(&*jobs), move |done| take_back(&*later, done));
        let done = in_time((&self.host, CALL), doing, does, back).await;
        done.map_err(|error| error.of_this_host(&self.settings.state_dir))
    }

    /// What keeps the tree up to date.
    pub fn upkeep(&self) -> &Upkeep {
        &self.upkeep
    }

    /// The manifests that are needed to list `path`.
    pub(super) async fn load(&self, world: &World, path: &ViewPath) -> Result<Loaded, FsError> {
        let mut loaded = Loaded::new();
        for of in Tree::needs(world, path) {
            loaded.extend(self.load_one(of).await?);
        }
        Ok(loaded)
    }

    /// The manifest that is needed to find the name `name` in `path`, and no other.
    pub(super) async fn load_for(
        &self,
        world: &World,
        path: &ViewPath,
        name: &str,
    ) -> Result<Loaded, FsError> {
        let ViewPath::TableNodes(..) = path else { return self.load(world, path).await };
        let needed = Tree::needs(world, path).into_iter().find(|of| of.node.as_str() == name);
        match needed {
            Some(of) => self.load_one(of).await,
            None => Ok(Loaded::new()),
        }
    }

    /// One manifest.
    pub(super) async fn load_one(&self, of: NodeBackupId) -> Result<Loaded, FsError> {
        let files = match self.catalog.node_files_cached(&of.backup, &of.node) {
            Some(files) => files,
            None => self.read_manifest(&of).await?,
        };
        Ok(Loaded::from([(of, files)]))
    }

    async fn read_manifest(
        &self,
        of: &NodeBackupId,
    ) -> Result<Arc<crate::catalog::NodeFiles>, FsError> {
        let (catalog, of) = (self.catalog.clone(), of.clone());
        let doing = format!("for the manifest of {} of {}", of.backup, of.node);
        self.on_share(doing, move || catalog.node_files(&of.backup, &of.node)).await
    }

    /// The place that a number stands for.
    pub(super) fn path_of(&self, ino: Ino) -> Result<ViewPath, FsError> {
        match self.known(ino)? {
            Known::Path(path) => Ok(path),
            Known::File(..) => Err(FsError::NotADirectory),
        }
    }

    /// What a number stands for.
    pub(super) fn known(&self, ino: Ino) -> Result<Known, FsError> {
        let known = self.inodes.known(ino);
        known.ok_or_else(|| FsError::Stale(format!("inode {ino} is not known any more")))
    }

    /// Writes down a refusal, for the caller and the log.
    pub(super) fn told<T>(
        &self,
        caller: Caller,
        call: &'static str,
        path: impl FnOnce() -> String,
        answer: Result<T, FsError>,
    ) -> Result<T, FsError> {
        if let Err(error) = &answer
            && error.is_news()
        {
            let (path, reason) = (path(), ErrorChain(error).to_string());
            let errno = error.errno();
            match error {
                FsError::Bug(_) | FsError::Damaged(_) => {
                    tracing::error!(uid = caller.uid, pid = caller.pid, %path, %reason, "{call}");
                }
                _ => tracing::info!(uid = caller.uid, pid = caller.pid, %path, %reason, "{call}"),
            }
            let (time, pid, program) = (self.clock.now(), caller.pid, caller.program());
            let refusal = Refusal { time, pid, program, call, path, errno, reason };
            self.refusals.keep(caller.uid, refusal);
        }
        answer
    }

    /// What a user reads in `last_error`.
    pub(super) fn refusals_of(&self, uid: u32) -> String {
        self.refusals.text(uid)
    }

    /// A path for a message: what a number stands for, and a name in it.
    pub(super) fn shown_path(&self, parent: Ino, name: &OsStr) -> String {
        let shown = match self.inodes.known(parent) {
            Some(Known::Path(ViewPath::Root)) => String::new(),
            Some(Known::Path(ViewPath::Staged(id))) => self.shown_staged(id),
            Some(Known::Path(path) | Known::File(path, _)) => path.to_string(),
            None => "?".to_owned(),
        };
        format!("{shown}/{}", name.to_string_lossy())
    }

    /// The path of what is copied in, for a message.
    pub(super) fn shown_staged(&self, id: StagedId) -> String {
        self.copy_in.path(id).unwrap_or_else(|| ViewPath::Staged(id).to_string())
    }

    /// A path for a message.
    pub(super) fn shown_ino(&self, ino: Ino) -> String {
        match self.inodes.known(ino) {
            Some(Known::Path(ViewPath::Staged(id))) => self.shown_staged(id),
            Some(Known::Path(path)) => path.to_string(),
            Some(Known::File(directory, place)) => {
                // The name would need the manifest; the number is what there is without.
                format!("{directory}/#{place}")
            }
            None => "?".to_owned(),
        }
    }
}

/// The same for every mount of one store, so that numbers are the same after a remount.
fn secret_of(store: &Store, layout: &Layout) -> [u8; 16] {
    use sha2::Digest;
    let digest = sha2::Sha256::new()
        .chain_update(b"medusafs inodes\0")
        .chain_update(store.path().as_os_str().as_encoded_bytes())
        .chain_update(b"\0")
        .chain_update(layout.prefix().unwrap_or_default())
        .finalize();
    let mut secret = [0; 16];
    secret.iter_mut().zip(digest.iter()).for_each(|(byte, from)| *byte = *from);
    secret
}

/// A name as the tree has them: valid UTF-8 and no longer than a directory entry. What is not, is
/// nowhere.
pub(super) fn name_of(name: &OsStr) -> Result<&str, FsError> {
    if name.len() > 255 {
        return Err(FsError::NameTooLong);
    }
    name.to_str().ok_or(FsError::NotFound)
}

//! `medusafs mount`: the tree, until it is unmounted.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::catalog::{Catalog, CatalogSettings};
use crate::config::{BackupMode, BackupPolicy, Config, Group, Passthrough, RestorePolicy, Sources};
use crate::fs::copy_in::{Copies, CopyParts, RestoreWork, Share};
use crate::fs::{BackupBy, ByJobs, CopyIn, Doing, FsParts, FsSettings, LookingOnly, MedusaFs};
use crate::fuse::{
    FuseError, Mount, MountSettings, Started, can_mount_on, leave_terminal, ready,
    start_in_background,
};
use crate::jobs::{ConfigFrom, Jobs};
use crate::medusa::{Layout, Mode};
use crate::model::{ByteSize, SystemClock};
use crate::observe::{LogTo, start_log};
use crate::store::{BlockingPool, PoolLimits, Store};
use crate::tasks::{Scope, Upkeep};
use crate::view::Rights;

use super::mount_options::MountOptions;
use super::settings::{check_key, program};
use super::share::{open_named_store, open_store};
use super::{Exit, Failure, MountArgs, Output, environment};

/// Manifests may take what is left of `memory` beside this, for everything else.
const BESIDE_MANIFESTS: u64 = 30 << 20;
/// How long the mount before this one may take to end, after its tree has gone.
const LAST_MOUNT_ENDS: Duration = Duration::from_secs(2);
/// How long the end of a mount waits for this host's disk.
const WRITTEN_WITHIN: Duration = Duration::from_secs(5);

/// Mounts, and returns when the tree answers; in the foreground, when it is unmounted.
pub(super) fn mount(args: &MountArgs, output: Output) -> Result<(), Failure> {
    let told = Told::by(args)?;
    if !args.ready {
        // Before anything is made: a mountpoint, a log. What is wrong is said here, by the one
        // whom the person sees.
        told.can_be_mounted()?;
    }
    if !args.foreground && !args.ready {
        return in_background(&told);
    }
    if args.ready {
        leave_terminal().map_err(|error| failure(&error))?;
    }
    for warning in &told.config.warnings {
        output.remark(warning);
    }
    start_log(log_of(args, &told.config), "info");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::of(Exit::Unwished, &error))?;
    let served = runtime.block_on(serve(&told, runtime.handle(), args.ready));
    // Calls that hang on the share are not waited for.
    runtime.shutdown_background();
    served
}

/// What was typed, resolved: paths are from the root, for the one in the background stands there.
struct Told {
    config: Config,
    from: Option<ConfigFrom>,
    settings: MountSettings,
    /// How it is typed again, by the one that goes to the background.
    again: Vec<OsString>,
}

impl Told {
    fn by(args: &MountArgs) -> Result<Self, Failure> {
        let absolute = |path: &Path| {
            std::path::absolute(path).map_err(|error| Failure::of(Exit::Usage, &error))
        };
        let is_root = nix::unistd::geteuid().is_root();
        let MountOptions { settings: options, read_only } =
            MountOptions::sort(&args.config.options, is_root)?;
        let mountpoint = absolute(&args.mountpoint)?;
        let mut again = vec![OsString::from("mount"), OsString::from("--ready")];
        for text in &args.config.options {
            again.extend(["-o".into(), OsString::from(text)]);
        }
        let (config, from, source) = if let Some(store) = &args.store {
            let store = absolute(store)?;
            again.extend(["--store".into(), store.clone().into_os_string()]);
            let config = Config::for_store(&store, &options, &environment())
                .map_err(|error| Failure::of(Exit::Usage, &error))?;
            (config, None, store.into_os_string())
        } else {
            // `mount -a` compares the source with fstab's text: it stays as it was typed.
            let source = args.config.config.clone().into_os_string();
            let medusa_ini = absolute(&args.config.config)?;
            again.extend(["--config".into(), medusa_ini.clone().into_os_string()]);
            let sources = Sources { medusa_ini, options, environment: environment() };
            let config =
                Config::load(&sources).map_err(|error| Failure::of(Exit::Usage, &error))?;
            let (medusa_ini, options) = (sources.medusa_ini, sources.options);
            (config, Some(ConfigFrom { medusa_ini, options }), source)
        };
        again.extend(["--source".into(), source.clone()]);
        again.push(mountpoint.clone().into_os_string());
        let passthrough = config.medusafs.passthrough == Passthrough::Auto;
        let source = args.source.clone().unwrap_or(source);
        Ok(Self {
            config,
            from,
            settings: MountSettings { mountpoint, source, passthrough, read_only },
            again,
        })
    }

    /// Looks at everything that a mount and its jobs need on this host, and makes nothing. The
    /// mount itself reads no key: that one can be used is looked at here, and not kept.
    fn can_be_mounted(&self) -> Result<(), Failure> {
        can_mount_on(&self.settings.mountpoint).map_err(|error| failure(&error))?;
        if self.has_cluster() && !self.settings.read_only {
            check_key(&self.config)?;
        }
        rights_of(&self.config)?;
        self.store().map(drop)
    }

    fn store(&self) -> Result<Store, Failure> {
        match &self.from {
            Some(_) => open_store(&self.config),
            None => open_named_store(&self.config),
        }
    }

    fn has_cluster(&self) -> bool {
        self.from.is_some() && self.config.has_cluster()
    }
}

fn in_background(told: &Told) -> Result<(), Failure> {
    match start_in_background(&told.again).map_err(|error| failure(&error))? {
        Started::Ready => Ok(()),
        // It has said why, but for a signal.
        Started::Ended(status) => Err(match status.code() {
            Some(1) => Failure::told(Exit::Unwished),
            Some(2) => Failure::told(Exit::Usage),
            Some(3) => Failure::told(Exit::Unreachable),
            Some(4) => Failure::told(Exit::Busy),
            _ => Failure::new(
                Exit::Unwished,
                format!("{} is not mounted: {status}", told.settings.mountpoint.display()),
            )
            .hint("the log is mount.log in state_dir; -f shows it"),
        }),
    }
}

async fn serve(
    told: &Told,
    runtime: &tokio::runtime::Handle,
    says_ready: bool,
) -> Result<(), Failure> {
    let scope = Scope::new();
    let (fs, copies) = file_system(told, &scope)?;
    let fs = Arc::new(fs);
    // The first look, so that what is there is there when the tree first answers.
    drop(fs.refresh().await);
    if let Some(copies) = &copies {
        copies.until_it_takes(LAST_MOUNT_ENDS).await;
    }
    let (mounting, settings) = (Arc::clone(&fs), told.settings.clone());
    let handle = runtime.clone();
    let mount = tokio::task::spawn_blocking(move || Mount::start(&mounting, &settings, &handle))
        .await
        .map_err(|error| Failure::of(Exit::Unwished, &error))?
        .map_err(|error| failure(&error))?;
    tracing::info!(path = %mount.path().display(), "mounted");
    if says_ready && let Err(error) = ready() {
        // Whoever typed it has given up: what nobody knows of is not left behind.
        let taken = mount.take_away();
        mount.close().await;
        scope.close(Duration::ZERO).await;
        return Err(failure(&taken.err().unwrap_or(error)));
    }
    let ended = mount.until_told().await;
    if let Some(copies) = copies
        && tokio::time::timeout(WRITTEN_WITHIN, copies.sync_journal()).await.is_err()
    {
        tracing::warn!("what was copied last is not written down: state_dir does not answer");
    }
    scope.close(Duration::ZERO).await;
    ended.map_err(|error| failure(&error))
}

fn file_system(told: &Told, scope: &Scope) -> Result<(MedusaFs, Option<Copies>), Failure> {
    let config = &told.config;
    let store = told.store()?;
    let layout = Layout::new(config.storage.prefix.as_deref())
        .map_err(|error| Failure::of(Exit::Usage, &error))?;
    let memory = ByteSize(config.medusafs.memory.0.saturating_sub(BESIDE_MANIFESTS) / 2);
    let catalog = CatalogSettings { memory, ..CatalogSettings::default() };
    let catalog = Catalog::new(store, layout, catalog);
    let pool = BlockingPool::new(PoolLimits::default());
    let upkeep = Upkeep::default();
    let mut kept = None;
    let (doing, copy_in): (Arc<dyn Doing>, Arc<dyn CopyIn>) =
        if let Some(from) = told.from.clone().filter(|_| told.has_cluster()) {
            let doing = begin_and_watch(told, from, scope)?;
            let deadline = config.medusafs.deadline;
            let share = Arc::new(Share::new(catalog.clone(), pool.clone(), deadline));
            let closing = Arc::clone(&share);
            upkeep.keep(scope, "closing idle files", move || Arc::clone(&closing).close_idle());
            let work: Arc<dyn RestoreWork> = Arc::<ByJobs>::clone(&doing);
            let parts = CopyParts {
                stored: share,
                work,
                clock: Arc::new(SystemClock),
                scope: scope.clone(),
                upkeep: upkeep.clone(),
                state_dir: config.medusafs.state_dir.clone(),
                mountpoint: told.settings.mountpoint.clone(),
            };
            let copies = copies(parts, told.settings.read_only)?;
            kept = Some(copies.clone()).filter(|_| !told.settings.read_only);
            (doing, Arc::new(copies))
        } else {
            let looking = Arc::new(LookingOnly::new());
            (Arc::<LookingOnly>::clone(&looking), looking)
        };
    let fs = MedusaFs::new(FsParts {
        catalog,
        pool,
        doing,
        copy_in,
        clock: Arc::new(SystemClock),
        upkeep,
        settings: settings_of(told)?,
    });
    Ok((fs, kept))
}

/// What is copied in. Whoever only looks begins nothing, and needs no place to write it down.
fn copies(parts: CopyParts, read_only: bool) -> Result<Copies, Failure> {
    if read_only {
        return Ok(Copies::look(parts));
    }
    Copies::open(parts).map_err(|error| {
        Failure::of(Exit::Usage, &error).hint(
            "`-o state_dir=DIR` names a directory that you can write to, `-o ro` is for looking only",
        )
    })
}

fn begin_and_watch(told: &Told, from: ConfigFrom, scope: &Scope) -> Result<Arc<ByJobs>, Failure> {
    let config = &told.config;
    let jobs = Jobs::open(&config.medusafs.state_dir, program()?, Arc::new(SystemClock));
    let mode = match config.medusafs.mode {
        BackupMode::Full => Mode::Full,
        BackupMode::Differential => Mode::Differential,
    };
    let doing = Arc::new(ByJobs::new(jobs, from, mode, Arc::new(SystemClock)));
    doing.look();
    // Whoever only looks begins nothing, not even the end of what has died.
    let tends = !told.settings.read_only;
    drop(scope.spawn(Arc::clone(&doing).watch(tends, config.medusafs.undo_keep)));
    Ok(doing)
}

fn settings_of(told: &Told) -> Result<FsSettings, Failure> {
    let medusafs = &told.config.medusafs;
    Ok(FsSettings {
        rights: rights_of(&told.config)?,
        backup: match medusafs.backup {
            _ if !told.has_cluster() => BackupBy::NoCluster,
            BackupPolicy::Mkdir => BackupBy::Mkdir,
            BackupPolicy::Command => BackupBy::Command,
            BackupPolicy::Off => BackupBy::Off,
        },
        restores: medusafs.restore != RestorePolicy::Off,
        state_dir: medusafs.state_dir.clone(),
        medusa_writes_too: medusafs.medusa_writes_too,
        deadline: medusafs.deadline,
        config: told.config.config_text(),
    })
}

fn rights_of(config: &Config) -> Result<Rights, Failure> {
    let etc_group = fs::read_to_string("/etc/group").unwrap_or_default();
    let number = |group: &Option<Group>| {
        let Some(group) = group else { return Ok(None) };
        group.id_in(&etc_group).map(Some).ok_or_else(|| {
            Failure::new(Exit::Usage, format!("there is no group {group} in /etc/group"))
                .hint("give its number if a directory service knows it")
        })
    };
    let medusafs = &config.medusafs;
    Ok(Rights {
        uid: nix::unistd::geteuid().as_raw(),
        gid: nix::unistd::getegid().as_raw(),
        read_group: number(&medusafs.read_group)?,
        backup_group: number(&medusafs.backup_group)?,
        restore_group: number(&medusafs.restore_group)?,
        delete_group: number(&medusafs.delete_group)?,
    })
}

/// In the background: a file in `state_dir`, or nowhere.
fn log_of(args: &MountArgs, config: &Config) -> LogTo {
    if args.foreground {
        return LogTo::Stderr;
    }
    let open = || -> std::io::Result<File> {
        let directory: &PathBuf = &config.medusafs.state_dir;
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600).open(directory.join("mount.log"))
    };
    open().map_or(LogTo::Stderr, LogTo::File)
}

/// How a mount's failure ends the command.
pub(super) fn failure(error: &FuseError) -> Failure {
    let exit = match error {
        FuseError::Missing(_)
        | FuseError::NotADirectory(_)
        | FuseError::NotEmpty { .. }
        | FuseError::NotOurs(_) => Exit::Usage,
        FuseError::InUse { .. } | FuseError::Busy(_) => Exit::Busy,
        FuseError::NoDevice(_) | FuseError::NoHelper(_) => Exit::Unreachable,
        FuseError::Path { .. }
        | FuseError::Helper { .. }
        | FuseError::Handshake(_)
        | FuseError::Thread(_)
        | FuseError::Connection(_)
        | FuseError::Background(_) => Exit::Unwished,
    };
    let failure = Failure::of(exit, error);
    match error {
        FuseError::NoDevice(_) => failure.hint(
            "load the kernel's module with `modprobe fuse`, or let the container have the device",
        ),
        FuseError::NoHelper(_) => failure.hint("install fuse3, or mount as root"),
        FuseError::InUse { .. } => failure.hint("unmount that first, or mount somewhere else"),
        FuseError::NotEmpty { .. } => failure.hint("mount on an empty directory"),
        FuseError::NotADirectory(_) => failure.hint("mount on a directory"),
        _ => failure,
    }
}

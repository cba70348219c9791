//! The life of a mount: begun, served, told to end.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use fuser::Config;
use fuser::Notifier;
use fuser::Session;
use fuser::SessionACL;
use tokio::runtime::Handle;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::sync::oneshot;

use crate::fs::MedusaFs;
use crate::observe::ErrorChain;
use crate::tasks::Scope;

use super::FuseError;
use super::MountSettings;
use super::adapter::Adapter;
use super::answer::Answers;
use super::invalidate;
use super::mount::OurMount;
use super::mount::mount;
use super::passthrough::Passthrough;

/// How often the share is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How long calls that are being answered may take when the mount ends.
const GRACE: Duration = Duration::from_secs(5);

/// Without passthrough, how much the kernel reads ahead.
const READ_AHEAD_KIB: &str = "1024";

/// A tree that is mounted and answers.
#[derive(Debug)]
pub struct Mount {
    ours: OurMount,
    is_over: Arc<AtomicBool>,
    scope: Scope,
    watching: Scope,
    ended: oneshot::Receiver<io::Result<()>>,
}

impl Mount {
    /// Mounts. When this returns the tree answers.
    ///
    /// `runtime` must have more than one thread, and outlive the mount.
    pub fn start(
        fs: &Arc<MedusaFs>,
        settings: &MountSettings,
        runtime: &Handle,
    ) -> Result<Self, FuseError> {
        let scope = Scope::new();
        let (device, ours) = mount(settings)?;
        let taken_back = |error| {
            // Nothing serves it: left there it would hang whoever looks.
            drop(ours.take_away());
            error
        };
        let answers = Answers::new(runtime.clone(), scope.clone());
        let adapter = Adapter::new(Arc::clone(fs), answers, Passthrough::new(settings.passthrough));
        let acl = if ours.shared { SessionACL::All } else { SessionACL::Owner };
        let mut config = Config::default();
        let threads = thread::available_parallelism().map_or(2, usize::from);
        config.n_threads = Some(threads.min(4));
        config.acl = acl;
        let session = Session::from_fd(adapter, device, acl, config)
            .map_err(FuseError::Handshake)
            .map_err(taken_back)?;
        let notifier = session.notifier();
        let (end, ended) = oneshot::channel();
        let is_over = Arc::new(AtomicBool::new(false));
        let over = Arc::clone(&is_over);
        let serve = move || {
            let how = session.run();
            over.store(true, Ordering::Release);
            // Whoever waited for the end may have gone.
            drop(end.send(how));
        };
        thread::Builder::new()
            .name("medusafs-fuse".to_owned())
            .spawn(serve)
            .map_err(FuseError::Thread)
            .map_err(taken_back)?;
        read_ahead(&ours.device);
        let _runtime = runtime.enter();
        let watching = Scope::new();
        let here = Arc::clone(fs);
        fs.upkeep().keep(&watching, "keeping up with the share", move || {
            keep_up(Arc::clone(&here), notifier.clone())
        });
        Ok(Self { ours, is_over, scope, watching, ended })
    }

    /// Where it is mounted, without links.
    pub fn path(&self) -> &Path {
        &self.ours.path
    }

    /// Takes the tree away, if it is still there. Files that are open go on being served until
    /// they are closed: [`Mount::ended`] tells when.
    pub fn take_away(&self) -> Result<(), FuseError> {
        // Somebody else unmounted it: its device number may be another one's by now.
        if self.is_over.load(Ordering::Acquire) {
            return Ok(());
        }
        self.ours.take_away()
    }

    /// Waits until nothing is mounted and open any more.
    pub async fn ended(&mut self) -> Result<(), FuseError> {
        match (&mut self.ended).await {
            Ok(ended) => ended.map_err(FuseError::Connection),
            // The thread is gone without a word: it panicked outside of every call.
            Err(_closed) => Err(FuseError::Connection(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Ends what is still being answered.
    pub async fn close(self) {
        self.watching.close(Duration::ZERO).await;
        self.scope.close(GRACE).await;
    }

    /// Serves until somebody unmounts it, or SIGTERM or SIGINT tells us to. At a second signal
    /// this returns at once, whatever is open.
    pub async fn until_told(mut self) -> Result<(), FuseError> {
        let mut terminated = signal(SignalKind::terminate()).map_err(FuseError::Thread)?;
        let mut interrupted = signal(SignalKind::interrupt()).map_err(FuseError::Thread)?;
        let mut told = false;
        loop {
            tokio::select! {
                ended = self.ended() => {
                    self.close().await;
                    return ended;
                }
                _ = terminated.recv() => {}
                _ = interrupted.recv() => {}
            }
            if told {
                tracing::warn!("told to end twice: whatever is still open is cut off");
                return Ok(());
            }
            told = true;
            tracing::info!("told to end: unmounting");
            self.take_away()?;
        }
    }
}

/// Looks at the share and hears of jobs, and tells the kernel what has changed.
async fn keep_up(fs: Arc<MedusaFs>, notifier: Notifier) {
    let stale = match invalidate::start(notifier) {
        Ok(stale) => stale,
        Err(error) => {
            tracing::error!(error = %ErrorChain(&error), "the kernel hears no news");
            return;
        }
    };
    let mut jobs = fs.jobs();
    let mut every = tokio::time::interval(LOOK_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut jobs_live = true;
    loop {
        let news = tokio::select! {
            _ = every.tick() => fs.refresh().await,
            changed = jobs.changed(), if jobs_live => {
                jobs_live = changed.is_ok();
                fs.jobs_changed()
            }
        };
        for one in news {
            if stale.send(one).await.is_err() {
                return;
            }
        }
    }
}

fn read_ahead(device: &str) {
    let file = format!("/sys/class/bdi/{device}/read_ahead_kb");
    if let Err(error) = fs::write(&file, READ_AHEAD_KIB) {
        // Only root may, and only passthrough needs no read-ahead of ours.
        tracing::debug!(%error, file, "reading ahead by the kernel's default");
    }
}

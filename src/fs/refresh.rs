//! Keeping up with the share and with jobs, and saying what the kernel must not believe any more.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use crate::catalog::Backup;
use crate::catalog::Backups;
use crate::catalog::Catalog;
use crate::catalog::CatalogError;
use crate::catalog::Depth;
use crate::cluster::KnownNodes;
use crate::model::BackupName;
use crate::model::Fqdn;
use crate::model::UnixSeconds;
use crate::observe::ErrorChain;
use crate::view::NodeBackupId;
use crate::view::Side;
use crate::view::ViewPath;
use crate::view::World;

use super::FsError;
use super::MedusaFs;
use super::Stale;
use super::Statfs;

/// Every so many rounds, the share is searched for what its index has lost, and looked at again
/// where it was damaged.
const ROUNDS_UNTIL_SEARCH: u64 = 30;

/// So many damaged files are looked at again at once.
const DAMAGED_AT_ONCE: usize = 500;

/// For how long backups are looked into in one round; the next goes on.
const LOOKING_INTO: Duration = Duration::from_secs(5);

/// How the share is.
#[derive(Debug, Default)]
pub(super) struct Share {
    /// When it last answered.
    pub answered: Option<UnixSeconds>,
    /// Why it did not since.
    pub silent: Option<String>,
    /// The nodes of the ring as last seen.
    pub ring: Option<Arc<Vec<Fqdn>>>,
    /// The cluster's name as jobs wrote it down on the share, and when one last met it.
    pub cluster: Option<(String, UnixSeconds)>,
    rounds: u64,
}

impl MedusaFs {
    /// Looks at the share once. Returns what has changed for the kernel. Called every two seconds,
    /// never by two at once.
    pub async fn refresh(&self) -> Vec<Stale> {
        let round = {
            let mut share = self.share.write();
            share.rounds += 1;
            share.rounds
        };
        let catalog = self.catalog.clone();
        let searches = round % ROUNDS_UNTIL_SEARCH == 1;
        let looked = self
            .on_share("for the store's index".to_owned(), move || {
                let space = catalog.store().space().ok();
                catalog.refresh()?;
                if !searches {
                    return Ok::<_, CatalogError>((space, None));
                }
                catalog.find_unindexed()?;
                catalog.look_at_damage_again(DAMAGED_AT_ONCE)?;
                Ok((space, cluster_of(&catalog)))
            })
            .await;
        let ring = self.on_disk("for the ring as last seen", |doing| Ok(doing.ring())).await;
        {
            let mut share = self.share.write();
            match &looked {
                Ok((_, cluster)) => {
                    share.answered = Some(self.clock.now());
                    share.silent = None;
                    share.cluster = cluster.clone().or_else(|| share.cluster.take());
                }
                Err(error) => {
                    if share.silent.is_none() {
                        tracing::warn!(error = %ErrorChain(error), "the share does not answer");
                    }
                    share.silent = Some(error.to_string());
                }
            }
            if let Ok(ring) = ring {
                share.ring = ring.map(Arc::new);
            }
        }
        if let Ok((Some(space), _)) = &looked {
            *self.space.write() = Statfs {
                total: space.total,
                free: space.free,
                available: space.available,
                files: space.files,
                files_free: space.files_free,
            };
        }
        if looked.is_ok() {
            self.deepen().await;
        }
        self.forget_withdrawn().await;
        self.changes()
    }

    /// Once a backup that was taken back has ended, nothing is left of it.
    async fn forget_withdrawn(&self) {
        let jobs = Arc::clone(&self.jobs().borrow());
        let withdrawn = {
            let mut begun = self.begun.lock();
            begun.tidy(&jobs);
            begun.withdrawn()
        };
        let ended = jobs.iter().filter(|job| job.state.outcome().is_some());
        for job in ended.filter(|job| withdrawn.contains(&job.id)).map(|job| job.id.clone()) {
            let id = job.clone();
            let gone = self.on_disk("for a job to be removed", move |doing| doing.forget(&[id]));
            if let Err(error) = gone.await {
                tracing::info!(%job, error = %ErrorChain(&error), "its folder is still there");
            }
        }
    }

    /// Learns which backups are complete: the newest at once, the others one in a round. Not
    /// while an earlier look still hangs on the share.
    async fn deepen(&self) {
        let Ok(turn) = Arc::clone(&self.looking_into).try_lock_owned() else { return };
        let catalog = self.catalog.clone();
        let deepened = self.on_share("for what backups hold".to_owned(), move || {
            let _turn = turn;
            let begun = Instant::now();
            loop {
                let latest = catalog.deepen(Depth::Latest, 1);
                if latest.left == 0 {
                    return Ok::<_, FsError>(catalog.deepen(Depth::All, 1).error.or(latest.error));
                }
                if latest.error.is_some() || begun.elapsed() > LOOKING_INTO {
                    return Ok(latest.error);
                }
            }
        });
        match deepened.await {
            Ok(None) => {}
            Ok(Some(error)) => {
                tracing::info!(error = %ErrorChain(&error), "a backup cannot be looked into yet");
            }
            Err(error) => tracing::info!(%error, "backups were not looked into to the end"),
        }
    }

    /// Jobs have changed: what has changed for the kernel by that.
    pub fn jobs_changed(&self) -> Vec<Stale> {
        self.changes()
    }

    /// The share's numbers, as they were lately.
    pub fn statfs(&self) -> Statfs {
        *self.space.read()
    }

    /// Compares what is shown now with what was shown when this was last called.
    fn changes(&self) -> Vec<Stale> {
        let world = self.world();
        let now = picture(&world);
        let mut shown = self.shown.lock();
        let before = std::mem::replace(&mut *shown, now.clone());
        drop(shown);
        let written_anew = std::mem::take(&mut *self.written_anew.lock());
        let mut stale: Vec<_> = written_anew.into_iter().map(Stale::Inode).collect();
        let names = before.keys().chain(now.keys()).collect::<std::collections::BTreeSet<_>>();
        for name in names {
            if before.get(name) != now.get(name) {
                self.tables.expire();
                self.stale_of(name, &world.backups, &mut stale);
            }
        }
        stale
    }

    /// Everything that the kernel may believe of one name of `backups/`.
    fn stale_of(&self, name: &str, backups: &Backups, stale: &mut Vec<Stale>) {
        if let Some(parent) = self.inodes.known_number(&ViewPath::Backups) {
            stale.push(Stale::Name(parent, name.to_owned()));
            stale.push(Stale::Inode(parent));
        }
        let Ok(backup) = BackupName::parse(name) else { return };
        self.facts.forget(|of| of.backup == backup);
        if let Some(ino) = self.inodes.known_number(&ViewPath::Backup(backup.clone())) {
            stale.push(Stale::Inode(ino));
        }
        for node in backups.nodes() {
            let of = NodeBackupId::new(backup.clone(), node.clone());
            for side in [Side::ByBackup, Side::ByNode] {
                let path = ViewPath::NodeBackup(side, of.clone());
                if let Some(ino) = self.inodes.known_number(&path) {
                    stale.push(Stale::Inode(ino));
                }
            }
            if let Some(parent) = self.inodes.known_number(&ViewPath::Node(node.clone())) {
                stale.push(Stale::Name(parent, name.to_owned()));
                stale.push(Stale::Inode(parent));
            }
        }
    }
}

/// The cluster whose backups these are, if a job has ever written it down.
fn cluster_of(catalog: &Catalog) -> Option<(String, UnixSeconds)> {
    let known = KnownNodes::read(catalog.store(), catalog.layout());
    let known = known.inspect_err(|error| {
        tracing::info!(error = %ErrorChain(error), "the cluster's name cannot be read");
    });
    let known = known.ok().filter(|known| !known.cluster_name.is_empty())?;
    let met = known.nodes.iter().map(|node| node.seen).max()?;
    Some((known.cluster_name, met))
}

/// What is shown of one name of `backups/`.
#[derive(Debug, Clone)]
pub(super) struct Shown {
    /// What the share holds of it, or that `latest` leads to.
    stored: Option<Arc<Backup>>,
    is_settled: bool,
}

impl PartialEq for Shown {
    /// Whether what the kernel may believe of it is the same: a verdict changes none of that.
    fn eq(&self, other: &Self) -> bool {
        let same = match (&self.stored, &other.stored) {
            (Some(one), Some(other)) => {
                let times = |backup: &Backup| {
                    let each = backup.nodes.iter();
                    let each = each.map(|(node, part)| (node.clone(), part.started, part.finished));
                    each.collect::<Vec<_>>()
                };
                Arc::ptr_eq(one, other) || one.name == other.name && times(one) == times(other)
            }
            (one, other) => one.is_none() == other.is_none(),
        };
        same && self.is_settled == other.is_settled
    }
}

/// For each name of `backups/` what is shown of it.
fn picture(world: &World) -> BTreeMap<String, Shown> {
    let one = |name: BackupName| {
        let (stored, is_settled) = (world.stored(&name).map(Arc::clone), world.is_settled(&name));
        (name.to_string(), Shown { stored, is_settled })
    };
    let latest = world.latest().map(|latest| {
        ("latest".to_owned(), Shown { stored: Some(Arc::clone(latest)), is_settled: true })
    });
    world.backup_names().into_iter().map(one).chain(latest).collect()
}

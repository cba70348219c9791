//! Keeping up with the share and with jobs, and saying what the kernel must not believe any more.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::catalog::Backups;
use crate::catalog::Depth;
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

/// Every so many rounds, the share is searched for what its index has lost.
const ROUNDS_UNTIL_SEARCH: u64 = 30;

/// How the share is.
#[derive(Debug, Default)]
pub(super) struct Share {
    /// When it last answered.
    pub answered: Option<UnixSeconds>,
    /// Why it did not since.
    pub silent: Option<String>,
    /// The nodes of the ring as last seen.
    pub ring: Option<Arc<Vec<Fqdn>>>,
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
                if searches {
                    catalog.find_unindexed()?;
                }
                Ok::<_, crate::catalog::CatalogError>(space)
            })
            .await;
        let ring = self.on_disk("for the ring as last seen", |doing| Ok(doing.ring())).await;
        {
            let mut share = self.share.write();
            match &looked {
                Ok(_) => {
                    share.answered = Some(self.clock.now());
                    share.silent = None;
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
        if let Ok(Some(space)) = &looked {
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
            let gone = self.on_disk("for a job to be removed", move |doing| doing.forget(&id));
            if let Err(error) = gone.await {
                tracing::info!(%job, error = %ErrorChain(&error), "its folder is still there");
            }
        }
    }

    /// Learns which backups are complete: the newest at once, the others one in a round.
    async fn deepen(&self) {
        let catalog = self.catalog.clone();
        let deepened = self.on_share("for what backups hold".to_owned(), move || {
            let latest = catalog.deepen(Depth::Latest, usize::MAX);
            let deepened = if latest.left == 0 { catalog.deepen(Depth::All, 1) } else { latest };
            Ok::<_, FsError>(deepened.error)
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
        let mut stale = Vec::new();
        let names = before.keys().chain(now.keys()).collect::<std::collections::BTreeSet<_>>();
        for name in names {
            if before.get(name) != now.get(name) {
                self.stale_of(name, &world.backups, &mut stale);
            }
        }
        if !stale.is_empty() {
            self.tables.expire();
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

/// For each name of `backups/` something that differs when what is shown of it does.
fn picture(world: &World) -> BTreeMap<String, String> {
    let one = |name: BackupName| {
        let stored = world.stored(&name).map(|backup| {
            let nodes: Vec<_> = backup
                .nodes
                .iter()
                .map(|(node, part)| (node, part.started, part.finished))
                .collect();
            format!("{nodes:?}")
        });
        let settled = world.is_settled(&name);
        (name.to_string(), format!("{stored:?} {settled}"))
    };
    let latest = world.latest().map(|latest| ("latest".to_owned(), latest.name.to_string()));
    world.backup_names().into_iter().map(one).chain(latest).collect()
}

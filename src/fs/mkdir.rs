//! `mkdir`: a backup begins.

use std::ffi::OsStr;
use std::sync::Arc;

use crate::medusa::Mode;
use crate::model::BackupName;
use crate::model::Fqdn;
use crate::model::JobId;
use crate::observe::ErrorChain;
use crate::view::Ino;
use crate::view::NodeBackupId;
use crate::view::Side;
use crate::view::ViewPath;
use crate::view::World;

use super::BackupBy;
use super::BackupOrder;
use super::Believe;
use super::Caller;
use super::Doing;
use super::Found;
use super::FsError;
use super::MedusaFs;
use super::begun::Making;
use super::lookup::staged_parent;
use super::medusa_fs::name_of;

/// What a `mkdir` in a directory means.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wish {
    /// The word that becomes the backup's name.
    name: String,
    mode: Option<Mode>,
    node: Option<Fqdn>,
    /// The cluster's backup whose part of this node is to be made good.
    finishes: bool,
}

/// The name, the one node, the mode if it is not left to those who do it.
type Judged = (BackupName, Option<Fqdn>, Option<Mode>);

impl MedusaFs {
    /// Makes a directory: asks for a backup, or goes to what is copied in.
    pub async fn mkdir(
        &self,
        caller: Caller,
        parent: Ino,
        name: &OsStr,
        mode: u32,
    ) -> Result<Found, FsError> {
        let made = self.make(caller, parent, name, mode).await;
        self.told(caller, "mkdir", || self.shown_path(parent, name), made)
    }

    async fn make(
        &self,
        caller: Caller,
        parent: Ino,
        name: &OsStr,
        mode: u32,
    ) -> Result<Found, FsError> {
        let directory = self.path_of(parent)?;
        let name = backup_text(name)?;
        if let Some(staged) = staged_parent(&directory) {
            self.may_copy_in(caller)?;
            self.restores_here()?;
            let entry = self.copy_in.mkdir(caller, &staged, name, mode).await?;
            return Ok(self.find_staged(&entry));
        }
        let Some(wish) = wish(&directory, name) else {
            return Err(self.refused_below(caller, &directory).await);
        };
        if wish.finishes
            && let Some(error) = self.withdraw_if_fresh(caller, &directory).await
        {
            return Err(error);
        }
        self.may_back_up(caller)?;
        if self.begun.lock().is_copying(&wish.name, caller.process()) {
            return Err(copying(&wish.name));
        }
        // From here on nobody else asks for one, so that what is judged stays true.
        let _making = Making::reserve(&self.begun, &wish.name)?;
        let (backup, node, mode) = self.judge(&self.world(), &wish)?;
        let order = BackupOrder {
            name: backup.clone(),
            mode,
            node: node.clone(),
            finishes: wish.finishes,
            caller,
            program: caller.program(),
        };
        let (asked, begun) = (order.clone(), Arc::clone(&self.begun));
        let begin = move |doing: &dyn Doing| doing.begin_backup(&asked);
        let take_back = move |doing: &dyn Doing, job: JobId| {
            begun.lock().withdraw(&job);
            if let Err(error) = doing.cancel(&job, "mkdir had failed before it was begun") {
                tracing::error!(%job, error = %ErrorChain(&error), "it is not taken back");
            }
        };
        let job = self.on_disk_or_back("for a job to begin", begin, take_back).await?;
        tracing::info!(
            uid = caller.uid, pid = caller.pid, program = %order.program, %job, backup = %backup,
            "a backup was asked for"
        );
        self.begun.lock().add(backup.clone(), node.clone(), job, caller.process());
        let path = match (&directory, node) {
            (ViewPath::Backup(_), Some(node)) => {
                ViewPath::NodeBackup(Side::ByBackup, NodeBackupId::new(backup, node))
            }
            (ViewPath::Node(_), Some(node)) => {
                ViewPath::NodeBackup(Side::ByNode, NodeBackupId::new(backup, node))
            }
            (ViewPath::NodeByMode(of, mode), _) => {
                ViewPath::NodeByModeLink(of.clone(), *mode, backup)
            }
            (ViewPath::ByMode(mode), _) => ViewPath::ByModeLink(*mode, backup),
            _ => ViewPath::Backup(backup),
        };
        Ok(self.made_directory(&path))
    }

    /// `mkdir(2)` must be told of a directory: where a link will stand there, one is shown that the
    /// next look replaces.
    fn made_directory(&self, path: &ViewPath) -> Found {
        let world = self.world();
        let shown = match path {
            ViewPath::ByModeLink(_, name) => ViewPath::Backup(name.clone()),
            ViewPath::NodeByModeLink(node, _, name) => {
                let of = NodeBackupId::new(name.clone(), node.clone());
                ViewPath::NodeBackup(Side::ByNode, of)
            }
            path => path.clone(),
        };
        let ino = self.inodes.remember(&shown);
        Found { attr: self.path_attr(&world, &shown, ino, 0), believe: Believe::NOTHING }
    }

    /// What can be said at once against a backup of that name.
    fn judge(&self, world: &World, wish: &Wish) -> Result<Judged, FsError> {
        if wish.finishes {
            return judge_finish(world, wish);
        }
        let name = BackupName::for_new(&wish.name)?;
        if world.nodes().iter().any(|node| node.as_str() == name.as_str()) {
            return Err(FsError::Invalid(format!("{name} is a node's name, and no backup's")));
        }
        if world.has_backup(&name) {
            return Err(FsError::Exists(format!("there is a backup {name} already")));
        }
        if self.settings.medusa_writes_too
            && let Some(other) = clashing(world, &name)
        {
            return Err(FsError::Invalid(format!(
                "{name} and the backup {other} begin alike: Medusa's purge of the shorter name \
                 would delete both; take another name, or set medusa_writes_too = false if Medusa \
                 never writes to this store"
            )));
        }
        not_busy(world)?;
        Ok((name, wish.node.clone(), wish.mode))
    }

    /// Whether this caller may ask for backups here.
    fn may_back_up(&self, caller: Caller) -> Result<(), FsError> {
        match self.settings.backup {
            BackupBy::Mkdir => {}
            BackupBy::NoCluster => {
                return Err(FsError::ReadOnly(
                    "no cluster is configured for this mount, it is for looking only".to_owned(),
                ));
            }
            BackupBy::Command => {
                return Err(FsError::NotPermitted(
                    "backup = command: use `medusafs backup`".to_owned(),
                ));
            }
            BackupBy::Off => {
                return Err(FsError::NotPermitted("backup = off on this host".to_owned()));
            }
        }
        if self.is_owner(caller) || caller.is_root_or_of(self.settings.rights.backup_group) {
            return Ok(());
        }
        Err(FsError::Denied("only root and backup_group may back up".to_owned()))
    }

    /// Whether this caller may copy into `restore/` and `import/`.
    pub(super) fn may_copy_in(&self, caller: Caller) -> Result<(), FsError> {
        if self.is_owner(caller) || caller.is_root_or_of(self.settings.rights.restore_group) {
            return Ok(());
        }
        Err(FsError::Denied("only root and restore_group may restore and import".to_owned()))
    }

    /// Whether anything may be begun from `restore/`. What is there already may go.
    pub(super) fn restores_here(&self) -> Result<(), FsError> {
        if self.settings.restores {
            return Ok(());
        }
        Err(FsError::NotPermitted("restore = off on this host".to_owned()))
    }

    /// An ordinary user's mount is his alone.
    pub(super) fn is_owner(&self, caller: Caller) -> bool {
        caller.uid == self.settings.rights.uid
    }

    /// Why nothing is made in a directory of the tree. Whoever goes on in a backup that he has
    /// just made is copying, and did not mean a backup: it is taken back.
    pub(super) async fn refused_below(&self, caller: Caller, directory: &ViewPath) -> FsError {
        match self.withdraw_if_fresh(caller, directory).await {
            Some(error) => error,
            None => FsError::ReadOnly(format!(
                "nothing is made in {directory}: a backup begins with mkdir in backups/ or \
                 nodes/NODE/, a restore with a copy into restore/"
            )),
        }
    }

    async fn withdraw_if_fresh(&self, caller: Caller, directory: &ViewPath) -> Option<FsError> {
        let (name, node) = backup_of(directory)?;
        let process = caller.process();
        let job = {
            let mut begun = self.begun.lock();
            let job = begun.just_made_by(name, node, process)?;
            begun.copies(name.clone(), process);
            job
        };
        self.withdraw(name, &job).await;
        Some(copying(name.as_str()))
    }

    async fn withdraw(&self, name: &BackupName, job: &JobId) {
        self.begun.lock().withdraw(job);
        let (id, why) = (job.clone(), "taken back: something was made below it at once");
        let told = self.on_disk("for a job to be cancelled", move |doing| doing.cancel(&id, why));
        if let Err(error) = told.await {
            tracing::error!(backup = %name, %job, %error, "a backup cannot be taken back");
        }
    }
}

fn wish(directory: &ViewPath, name: &str) -> Option<Wish> {
    let wish = |mode, node: Option<&Fqdn>| Wish {
        name: name.to_owned(),
        mode,
        node: node.cloned(),
        finishes: false,
    };
    Some(match directory {
        ViewPath::Backups => wish(None, None),
        ViewPath::ByMode(mode) => wish(Some(*mode), None),
        ViewPath::Node(node) => wish(None, Some(node)),
        ViewPath::NodeByMode(node, mode) => wish(Some(*mode), Some(node)),
        ViewPath::Backup(backup) => Wish {
            name: backup.to_string(),
            mode: None,
            node: Some(Fqdn::parse(name).ok()?),
            finishes: true,
        },
        _ => return None,
    })
}

fn judge_finish(world: &World, wish: &Wish) -> Result<Judged, FsError> {
    let name =
        BackupName::parse(&wish.name).map_err(|error| FsError::Invalid(error.to_string()))?;
    // Whoever stands in the directory of one that was taken back, or deleted, can still ask.
    if !world.has_backup(&name) {
        return Err(FsError::ReadOnly(format!("there is no backup {name} that could be finished")));
    }
    let Some(node) = wish.node.clone().filter(|node| world.nodes().contains(node)) else {
        return Err(FsError::ReadOnly(format!(
            "in a backup one makes only the directory of a node that failed it, and {} is no node",
            wish.node.as_ref().map_or("this", Fqdn::as_str)
        )));
    };
    let stored = world.stored(&name);
    let part = stored.and_then(|backup| backup.nodes.get(&node));
    if part.is_some_and(|part| part.finished.is_some()) {
        return Err(FsError::Exists(format!("{node} has finished the backup {name}")));
    }
    not_busy(world)?;
    let mode = stored.map(|backup| backup.mode);
    Ok((name, Some(node), mode))
}

fn not_busy(world: &World) -> Result<(), FsError> {
    let asked = world.asked.first().map(|asked| asked.job.clone());
    let busy = world.busy().map(|job| job.id.clone()).or(asked);
    match busy {
        Some(job) => Err(FsError::Busy(format!("the cluster is in use by {job}"))),
        None => Ok(()),
    }
}

fn clashing(world: &World, name: &BackupName) -> Option<BackupName> {
    let alike = |other: &BackupName| {
        other.as_str().starts_with(name.as_str()) || name.as_str().starts_with(other.as_str())
    };
    world.backups.clashing(name).cloned().or_else(|| world.backup_names().into_iter().find(alike))
}

fn copying(name: &str) -> FsError {
    FsError::ReadOnly(format!(
        "there is no backup {name}, or it is taken back: the program that made its directory goes \
         on in it, so it is copying and not backing up"
    ))
}

/// The backup in whose directory something is to be made, and the node if it is that of one.
fn backup_of(directory: &ViewPath) -> Option<(&BackupName, Option<&Fqdn>)> {
    match directory {
        ViewPath::Backup(name) => Some((name, None)),
        ViewPath::NodeBackup(_, of) => Some((&of.backup, Some(&of.node))),
        _ => None,
    }
}

fn backup_text(name: &OsStr) -> Result<&str, FsError> {
    name_of(name).map_err(|error| match error {
        FsError::NotFound => FsError::Invalid("a name here is UTF-8".to_owned()),
        other => other,
    })
}

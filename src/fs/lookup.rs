//! From a name to an inode.

use std::ffi::OsStr;
use std::time::Duration;

use crate::medusa::MetaFile;
use crate::model::JobState;
use crate::view::CONTROL;
use crate::view::Ino;
use crate::view::Kind;
use crate::view::Loaded;
use crate::view::Owner;
use crate::view::State;
use crate::view::Tree;
use crate::view::ViewPath;
use crate::view::World;

use super::Believe;
use super::Caller;
use super::Found;
use super::FsError;
use super::LookedUp;
use super::MedusaFs;
use super::StagedEntry;
use super::StagedParent;
use super::believe;
use super::medusa_fs::name_of;
use super::stat::Shared;
use super::stat::staged_attr;
use super::texts::unexamined;

impl MedusaFs {
    /// Looks a name up. For each answer that found it, the kernel knows it once more.
    pub async fn lookup(
        &self,
        caller: Caller,
        parent: Ino,
        name: &OsStr,
    ) -> Result<LookedUp, FsError> {
        let answer = self.look(caller, parent, name).await;
        self.told(caller, "lookup", || self.shown_path(parent, name), answer)
    }

    async fn look(&self, caller: Caller, parent: Ino, name: &OsStr) -> Result<LookedUp, FsError> {
        let directory = self.path_of(parent)?;
        let name = match name_of(name) {
            // No name of ours is such bytes.
            Err(FsError::NotFound) => return Ok(LookedUp::Absent(Duration::ZERO)),
            name => name?,
        };
        let world = self.world();
        if let Some(staged) = staged_parent(&directory)
            && let Some(entry) = self.copy_in.lookup(&staged, name)
        {
            return Ok(LookedUp::Found(self.find_staged(&entry)));
        }
        let loaded = match &directory {
            // Those are there whatever the manifest is like.
            ViewPath::NodeBackup(..) if MetaFile::of_name(name).is_some() || name == CONTROL => {
                Loaded::new()
            }
            ViewPath::Tables(_) | ViewPath::Keyspaces => {
                self.know_tables().await;
                Loaded::new()
            }
            _ => self.load_for(&world, &directory, name).await?,
        };
        let world = self.world();
        let tree = Tree::new(&world, &loaded);
        if let ViewPath::Files(files) = &directory
            && let Some(view) = tree.files(files)
            && let Some(place) = view.place(name)
        {
            let facts = self.facts_of_one(&view, place).await?;
            let gone = || FsError::Bug(format!("{directory} has no file {place}"));
            let found = self.found_stored(Shared::of(&world, files), &view, place, facts);
            let found = found.ok_or_else(gone)?;
            let key = view.at(place).ok_or_else(gone)?.key();
            let remembered = self.inodes.remember_file(parent, place, &key);
            remembered.ok_or_else(|| FsError::Stale(format!("{directory} is not known")))?;
            return Ok(LookedUp::Found(found));
        }
        let kept = |path: &ViewPath| match path {
            // Of what is copied in, only the top of a set has one.
            ViewPath::Control(owner @ Owner::Staged(_)) => self.set_of(owner).is_some(),
            _ => true,
        };
        let Some(child) = tree.child(&directory, name).filter(|child| kept(&child.path)) else {
            return Ok(LookedUp::Absent(believe::absent(&world, &directory)));
        };
        match self.find(caller, &world, &child.path).await {
            Err(FsError::NotFound) => Ok(LookedUp::Absent(believe::absent(&world, &directory))),
            found => found.map(LookedUp::Found),
        }
    }

    /// Tells the kernel of a place of the tree.
    pub(super) async fn find(
        &self,
        caller: Caller,
        world: &World,
        path: &ViewPath,
    ) -> Result<Found, FsError> {
        let ino = self.inodes.number(path);
        let attr = self.attr_of(caller, world, path, ino).await?;
        let ino = self.inodes.remember(path);
        let attr = crate::view::Attr { ino, ..attr };
        Ok(Found { attr, believe: believe::of(world, path) })
    }

    /// Tells the kernel of something that is being copied in.
    pub(super) fn find_staged(&self, entry: &StagedEntry) -> Found {
        let path = ViewPath::Staged(entry.id);
        let ino = self.inodes.remember(&path);
        Found { attr: staged_attr(ino, entry), believe: Believe::NOTHING }
    }

    /// Where a symbolic link leads.
    pub fn readlink(&self, ino: Ino) -> Result<Vec<u8>, FsError> {
        let path = self.path_of(ino)?;
        let (world, loaded) = (self.world(), Loaded::new());
        match Tree::new(&world, &loaded).target(&path) {
            Some(target) => Ok(target.into_bytes()),
            None if path.kind() == Some(Kind::Link) => Err(FsError::NotFound),
            None => Err(FsError::Invalid(format!("{path} is no link"))),
        }
    }

    /// fsync of a directory: an answer at once, for the kernel holds the directory meanwhile.
    pub fn fsyncdir(&self, caller: Caller, ino: Ino) -> Result<(), FsError> {
        let path = self.path_of(ino)?;
        let Some(owner) = path.control_owner() else { return Ok(()) };
        let world = self.world();
        let Some(report) = self.report(&world, &owner) else { return Ok(()) };
        let state = match unexamined(&world, &owner, &report) {
            // Nothing is read here: what made it says how it ended, else what it has published.
            Some(stored) => match world.job_of(&stored.name).map(|job| job.state) {
                Some(ended) if ended.outcome().is_some() => State::Job(ended),
                _ if stored.finished.is_some() => State::Job(JobState::Complete),
                _ => report.state(),
            },
            None => report.state(),
        };
        let done = match state {
            // Nothing is asked for there.
            State::Empty => Ok(()),
            state if state.wait() == crate::view::Wait::Wished => Ok(()),
            state => Err(FsError::EndedOtherwise(format!("{path} is {}", state.word()))),
        };
        self.told(caller, "fsync", || path.to_string(), done)
    }
}

/// The directory as those know it who keep what is copied in; none for all others.
pub(super) fn staged_parent(path: &ViewPath) -> Option<StagedParent> {
    Some(match path {
        ViewPath::Area(area) => StagedParent::Area(*area),
        ViewPath::AreaNode(area, node) => StagedParent::Node(*area, node.clone()),
        ViewPath::Staged(id) => StagedParent::Inside(*id),
        _ => return None,
    })
}

//! Whether the share is there and holds a store, before anything is made of it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use crate::config::Config;
use crate::fuse::is_mountpoint;
use crate::observe::ErrorChain;
use crate::store::{Kind, Store};

use super::{Exit, Failure};

/// Where mounts are listed that are expected to be there.
const FSTAB: &str = "/etc/fstab";

/// What lies in a new file system, and in no store.
const OF_THE_FILE_SYSTEM: [&str; 3] = ["lost+found", ".snapshot", ".Trash-0"];

/// Names in a directory that are looked at for a sign of Medusa.
const LOOKED_AT: usize = 64;

/// Opens the store of a configuration. Nothing is made.
///
/// # Errors
///
/// Exit 3 if the share is not there, is not mounted, or does not answer within `deadline`; exit 2
/// if what is there is no store.
pub(super) fn open_store(config: &Config) -> Result<Store, Failure> {
    let base_path = config.storage.base_path.clone();
    let place = Place {
        root: config.store_root(),
        prefix: config.storage.prefix.clone(),
        base_path: Some(base_path.clone()),
    };
    in_time(config.medusafs.deadline, &base_path, move || place.open())?
}

/// Opens a store that was named by itself: one that holds nothing is a mistake.
///
/// # Errors
///
/// As [`open_store`].
pub(super) fn open_named_store(config: &Config) -> Result<Store, Failure> {
    let root = config.store_root();
    let place =
        Place { root: root.clone(), prefix: config.storage.prefix.clone(), base_path: None };
    in_time(config.medusafs.deadline, &root, move || place.open())?
}

/// Does what waits for the share on a thread of its own, for `deadline` at most.
///
/// # Errors
///
/// Exit 3 if the share does not answer: the thread is left behind, and ends with the process.
pub(super) fn in_time<T: Send + 'static>(
    deadline: Duration,
    share: &Path,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let (done, waiting) = mpsc::channel();
    std::thread::Builder::new()
        .name("medusafs-share".to_owned())
        // Whoever waited may have gone.
        .spawn(move || drop(done.send(work())))
        .map_err(|error| Failure::of(Exit::Unwished, &error))?;
    waiting.recv_timeout(deadline).map_err(|error| {
        let share = share.display();
        match error {
            RecvTimeoutError::Timeout => Failure::new(
                Exit::Unreachable,
                format!("the share at {share} did not answer within {} s", deadline.as_secs()),
            )
            .hint("see whether its server is up, or give it more time with deadline"),
            RecvTimeoutError::Disconnected => {
                Failure::new(Exit::Unwished, format!("looking at {share} failed by a bug"))
            }
        }
    })
}

struct Place {
    root: PathBuf,
    prefix: Option<String>,
    /// None if the store was named by itself.
    base_path: Option<PathBuf>,
}

impl Place {
    fn open(&self) -> Result<Store, Failure> {
        if let Some(base_path) = &self.base_path {
            must_be_mounted(base_path)?;
        }
        let root = self.root.display();
        let store = match (Store::open(&self.root), &self.base_path) {
            (Ok(store), _) => store,
            (Err(error), Some(base_path)) if error.is_not_found() => {
                return Err(no_bucket(base_path, &self.root));
            }
            (Err(error), base_path) => {
                let (exit, what) = match error.kind {
                    Kind::NotFound => (Exit::Unreachable, format!("there is no directory {root}")),
                    Kind::WrongKind => (Exit::Usage, format!("{root} is no directory")),
                    _ => (Exit::Unreachable, ErrorChain(&error).to_string()),
                };
                return Err(Failure::new(exit, what).hint(match base_path {
                    Some(_) => "see bucket_name in [storage]",
                    None => {
                        "name the directory that holds the nodes' directories, with the share \
                         mounted"
                    }
                }));
            }
        };
        let unreadable = |error: io::Error| {
            Failure::new(Exit::Unreachable, format!("cannot list {root}: {error}"))
        };
        let here = self.prefix.as_ref().map_or_else(|| self.root.clone(), |p| self.root.join(p));
        match looks(&here).map_err(unreadable)? {
            Looks::Store => Ok(store),
            Looks::Empty if self.base_path.is_some() => Ok(store),
            Looks::Empty => {
                let what = format!("{} holds no backups: it is empty or not there", here.display());
                Err(Failure::new(Exit::Unreachable, what)
                    .hint("see whether the share is mounted there"))
            }
            Looks::Other(name) => {
                let what = format!(
                    "{} is no store of Medusa: it holds {name:?} and neither index/ nor a node's \
                     backup",
                    here.display()
                );
                Err(Failure::new(Exit::Usage, what).hint(match self.base_path {
                    Some(_) => {
                        "name the store's own directory with bucket_name and prefix in [storage]"
                    }
                    None => "name the directory that holds the nodes' directories",
                }))
            }
        }
    }
}

/// A share that is in fstab and not mounted leaves a local directory, which would take backups.
fn must_be_mounted(base_path: &Path) -> Result<(), Failure> {
    let unreadable = |error: io::Error| {
        Failure::new(
            Exit::Unreachable,
            format!("cannot look at base_path {}: {error}", base_path.display()),
        )
    };
    // Entered, so that an automounter mounts it.
    match fs::read_dir(base_path) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let what = format!("the share is not there: base_path {} ", base_path.display());
            return Err(Failure::new(Exit::Unreachable, format!("{what}does not exist"))
                .hint("mount the share there, or correct base_path in [storage]"));
        }
        Err(error) => return Err(unreadable(error)),
    }
    let Ok(fstab) = fs::read_to_string(FSTAB) else { return Ok(()) };
    let real = base_path.canonicalize().map_err(unreadable)?;
    for expected in expected_above(&fstab, base_path).chain(expected_above(&fstab, &real)) {
        let place = expected.canonicalize().unwrap_or(expected);
        if !is_mountpoint(&place).map_err(unreadable)? {
            let lies = if place == real {
                "is".to_owned()
            } else {
                format!("lies on {}, which is", place.display())
            };
            let base_path = base_path.display();
            let what = format!(
                "the share is not mounted: base_path {base_path} {lies} in {FSTAB} and not mounted"
            );
            return Err(Failure::new(Exit::Unreachable, what)
                .hint(format!("`mount {}` mounts it", place.display())));
        }
    }
    Ok(())
}

/// The mountpoints of fstab that `path` lies on, but for the root.
fn expected_above<'a>(fstab: &'a str, path: &'a Path) -> impl Iterator<Item = PathBuf> + 'a {
    fstab
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .filter_map(|line| line.split_whitespace().nth(1))
        .map(|place| PathBuf::from(place.replace("\\040", " ").replace("\\011", "\t")))
        .filter(move |place| place != Path::new("/") && path.starts_with(place))
}

fn no_bucket(base_path: &Path, root: &Path) -> Failure {
    let is_empty = fs::read_dir(base_path).is_ok_and(|mut entries| entries.next().is_none());
    let (base_path, root) = (base_path.display(), root.display());
    if is_empty {
        let what = format!("base_path {base_path} is empty, so the share is not mounted there");
        return Failure::new(Exit::Unreachable, what)
            .hint(format!("mount it; if it is mounted and new, begin with `mkdir {root}`"));
    }
    let what = format!("there is no store at {root}: base_path has no directory of this name");
    Failure::new(Exit::Unreachable, what).hint(format!(
        "correct bucket_name in [storage]; if the store is new, begin with `mkdir {root}`"
    ))
}

enum Looks {
    Store,
    Empty,
    /// It holds this, and no sign of Medusa.
    Other(String),
}

/// What a directory holds: Medusa's index, a node's backup or our own `.medusafs` make a store.
fn looks(directory: &Path) -> io::Result<Looks> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Looks::Empty),
        entries => entries?,
    };
    let mut other = None;
    for own in ["index", ".medusafs"] {
        if directory.join(own).is_dir() {
            return Ok(Looks::Store);
        }
    }
    for entry in entries.take(LOOKED_AT) {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if OF_THE_FILE_SYSTEM.contains(&name.as_str()) || name.starts_with(".nfs") {
            continue;
        }
        if is_node(&entry.path()) {
            return Ok(Looks::Store);
        }
        other.get_or_insert(name);
    }
    Ok(other.map_or(Looks::Empty, Looks::Other))
}

/// `NODE/BACKUP/meta/`: a store whose index was lost is a store yet.
fn is_node(directory: &Path) -> bool {
    fs::read_dir(directory).is_ok_and(|backups| {
        backups.take(LOOKED_AT).flatten().any(|backup| backup.path().join("meta").is_dir())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mountpoints_that_a_path_lies_on_are_found_in_fstab() {
        let fstab = "# /mnt/old /mnt nfs\n\
            UUID=1 / ext4 defaults 0 1\n\
            nas:/a /mnt/back\\040up nfs _netdev 0 0\n\
            nas:/b /mnt/backup2 nfs\nbroken\n";
        let above = |path: &str| expected_above(fstab, Path::new(path)).collect::<Vec<_>>();
        assert_eq!(above("/mnt/back up/medusa"), [PathBuf::from("/mnt/back up")]);
        assert!(above("/mnt/backup").is_empty());
    }

    #[test]
    fn a_share_that_does_not_answer_is_given_up() {
        let (_hold, never) = mpsc::channel::<()>();
        let hangs = move || never.recv().is_ok();
        let failure =
            in_time(Duration::from_millis(20), Path::new("/mnt/share"), hangs).unwrap_err();
        assert_eq!(failure.exit, Exit::Unreachable);
        assert!(failure.message.starts_with("the share at /mnt/share did not answer"));
    }
}

//! For how long the kernel may believe what it is told.

use std::time::Duration;

use crate::view::FilesDirectory;
use crate::view::Owner;
use crate::view::ViewPath;
use crate::view::World;

use super::Believe;

/// What does not change while its backup is there: a notice comes before this is over.
const SETTLED: Duration = Duration::from_hours(1);

/// Lists that other hosts change too.
const LISTS: Duration = Duration::from_secs(1);

/// For how long what stands at `path` holds.
pub(super) fn of(world: &World, path: &ViewPath) -> Believe {
    let time = match path {
        ViewPath::Keyspace(_, of, _)
        | ViewPath::Meta(of, _)
        | ViewPath::NodeBackup(_, of)
        | ViewPath::Files(FilesDirectory { of, .. })
        | ViewPath::TableChoice(_, _, of)
            if world.is_settled(&of.backup) =>
        {
            SETTLED
        }
        ViewPath::Readme => SETTLED,
        // `tail -f` looks whether the size has changed.
        ViewPath::Status
        | ViewPath::ControlFile(..)
        | ViewPath::JobFile(..)
        | ViewPath::Staged(_)
        | ViewPath::Control(Owner::Staged(_)) => Duration::ZERO,
        _ => LISTS,
    };
    Believe { name: time, attributes: time }
}

/// For how long a stored file holds. A time that was made up, for the share did not
/// say, is asked for again soon; but not for each file that `ls -l` goes through.
pub(super) fn of_file(is_settled: bool, is_time_known: bool) -> Believe {
    let name = if is_settled { SETTLED } else { LISTS };
    Believe { name, attributes: if is_time_known { name } else { LISTS } }
}

/// For how long it holds that a directory has no such name.
pub(super) fn absent(world: &World, directory: &ViewPath) -> Duration {
    if is_settled(world, directory) { SETTLED } else { Duration::ZERO }
}

/// Whether the listing of a directory cannot change while its backup is there.
pub(super) fn is_settled(world: &World, directory: &ViewPath) -> bool {
    match directory {
        ViewPath::Keyspace(_, of, _)
        | ViewPath::NodeBackup(_, of)
        | ViewPath::Files(FilesDirectory { of, .. })
        | ViewPath::TableChoice(_, _, of) => world.is_settled(&of.backup),
        _ => false,
    }
}

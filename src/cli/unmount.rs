//! `medusafs unmount`: the tree goes; jobs go on to their end.

use std::fs;
use std::path::Path;

use crate::fuse;
use crate::view::{State, Wait};

use super::mount::failure;
use super::{Exit, Failure, UnmountArgs};

/// Takes the tree away; with `--now` what runs is cancelled first.
pub(super) fn unmount(args: &UnmountArgs) -> Result<(), Failure> {
    if args.now {
        cancel_all(&args.mountpoint)?;
    }
    fuse::unmount(&args.mountpoint).map_err(|error| failure(&error))
}

/// By the tree itself, which is there yet.
fn cancel_all(mountpoint: &Path) -> Result<(), Failure> {
    let wrong = |error: std::io::Error| Failure::of(Exit::Unwished, &error);
    for directory in ["backups", "restore", "import"] {
        for entry in fs::read_dir(mountpoint.join(directory)).map_err(wrong)? {
            let control = entry.map_err(wrong)?.path().join(".medusa");
            let Ok(state) = fs::read_to_string(control.join("state")) else { continue };
            if State::of_word(state.trim()).is_some_and(|state| state.wait() == Wait::GoesOn) {
                fs::write(control.join("cancel"), "1\n").map_err(wrong)?;
            }
        }
    }
    Ok(())
}

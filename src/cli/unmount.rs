//! `medusafs unmount`: the tree goes; jobs go on to their end.

use std::fs;
use std::io;
use std::path::Path;

use crate::fuse;
use crate::view::{State, Wait};

use super::mount::failure;
use super::{Exit, Failure, Output, UnmountArgs};

/// Takes the tree away; with `--now` what runs is cancelled first.
pub(super) fn unmount(args: &UnmountArgs, output: Output) -> Result<(), Failure> {
    fuse::must_be_ours(&args.mountpoint).map_err(|error| failure(&error))?;
    if args.now {
        for left in cancel_all(&args.mountpoint) {
            output.failure(&left);
        }
    }
    fuse::unmount(&args.mountpoint).map_err(|error| failure(&error))
}

/// By the tree itself, which is there yet. Returns what could not be cancelled, and why.
fn cancel_all(mountpoint: &Path) -> Vec<Failure> {
    let mut left = Vec::new();
    for directory in ["backups", "restore", "import"] {
        let directory = mountpoint.join(directory);
        let entries = match fs::read_dir(&directory) {
            Ok(entries) => entries,
            Err(error) => {
                left.push(goes_on(&format!("what runs in {}", directory.display()), &error));
                continue;
            }
        };
        for entry in entries.flatten() {
            let control = entry.path().join(".medusa");
            let Ok(state) = fs::read_to_string(control.join("state")) else { continue };
            let runs = State::of_word(state.trim()).is_some_and(|s| s.wait() == Wait::GoesOn);
            if runs && let Err(error) = fs::write(control.join("cancel"), "1\n") {
                left.push(goes_on(&entry.path().display().to_string(), &error));
            }
        }
    }
    left
}

fn goes_on(what: &str, error: &io::Error) -> Failure {
    Failure::new(Exit::Unwished, format!("{what} is not cancelled and goes on: {error}"))
        .hint("`medusafs jobs` shows it")
}

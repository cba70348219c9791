//! `medusafs wait PATH`: reads the tree's own `.medusa/wait` to its end.

use std::fs;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

use rustix::io::Errno;

use super::{Exit, Failure, Output};

/// Shows every line until the end; the exit status tells how it ended.
pub(super) fn wait(path: &Path, output: Output) -> Result<(), Failure> {
    let control = path.join(".medusa");
    let mut file = fs::File::open(control.join("wait")).map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => {
            let message = format!("cannot wait for {}: {error}", path.display());
            Failure::new(Exit::Usage, message).hint(
                "name a directory of a mounted tree: MOUNTPOINT/backups/NAME, MOUNTPOINT/restore/NODE",
            )
        }
        ErrorKind::PermissionDenied => {
            let message = format!("cannot wait for {}: {error}", path.display());
            Failure::new(Exit::Usage, message).hint(
                "root may look, and the group that read_group of medusafs.ini names; a mount that \
                 an ordinary user made is his alone",
            )
        }
        _ => out_of_sight(path, &error),
    })?;
    let mut buffer = [0; 4096];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => {
                let news = String::from_utf8_lossy(buffer.get(..read).unwrap_or_default());
                output.text(&news)?;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.raw_os_error() == Some(Errno::IO.raw_os_error()) => {
                return Err(unwished(path, &control));
            }
            Err(error) => return Err(out_of_sight(path, &error)),
        }
    }
}

/// The tree says by EIO that the end is not the wished one, and why in `error`.
fn unwished(path: &Path, control: &Path) -> Failure {
    let told = |name| fs::read_to_string(control.join(name)).unwrap_or_default().trim().to_owned();
    let (why, state) = (told("error"), told("state"));
    let message = match (why.is_empty(), state.is_empty()) {
        (false, _) => why,
        (true, false) => format!("{} is {state}", path.display()),
        (true, true) => format!("{} has not ended as wished", path.display()),
    };
    Failure::new(Exit::Unwished, message)
}

/// The tree does not answer any more, which says nothing of the job.
fn out_of_sight(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Exit::Unreachable, format!("cannot read {}: {error}", path.display())).hint(
        "what was begun goes on without the mount: mount again and wait again, or see `medusafs jobs`",
    )
}

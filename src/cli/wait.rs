//! `medusafs wait PATH`: reads the tree's own `.medusa/wait` to its end.

use std::fs;
use std::io::{ErrorKind, Read};
use std::path::Path;

use super::{Exit, Failure, Output};

/// Shows every line until the end; the exit status tells how it ended.
pub(super) fn wait(path: &Path, output: Output) -> Result<(), Failure> {
    let control = path.join(".medusa");
    let wait = control.join("wait");
    let mut file = fs::File::open(&wait).map_err(|error| {
        let message = format!("cannot wait for {}: {error}", path.display());
        match error.kind() {
            ErrorKind::NotFound => Failure::new(Exit::Usage, message)
                .hint("name a directory of a mounted tree: MOUNTPOINT/backups/NAME, MOUNTPOINT/restore/NODE"),
            _ => Failure::new(Exit::Unreachable, message),
        }
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
            Err(error) => {
                let why = fs::read_to_string(control.join("error")).unwrap_or_default();
                let state = fs::read_to_string(control.join("state")).unwrap_or_default();
                let message = if why.trim().is_empty() {
                    format!("{} ended as {:?}: {error}", path.display(), state.trim())
                } else {
                    why.trim().to_owned()
                };
                return Err(Failure::new(Exit::Unwished, message));
            }
        }
    }
}

//! Small files that are replaced whole: a reader sees the old text or the new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Replaces the file `name` of `directory`. Each writer has a draft of its own, so that of two who
/// write at once the later one counts, and neither meets half of the other's.
pub(super) fn replace(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let (draft, mut file) = new_draft(directory, name)?;
    let written = file
        .write_all(bytes)
        .and_then(|()| file.sync_data())
        .and_then(|()| fs::rename(&draft, directory.join(name)));
    if written.is_err() {
        // It goes with the job's folder if it does not now.
        drop(fs::remove_file(&draft));
    }
    written
}

fn new_draft(directory: &Path, name: &str) -> io::Result<(PathBuf, File)> {
    let mut number = 0_u32;
    loop {
        let draft = directory.join(format!(".{name}.{number}"));
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft) {
            // Another's who writes now, or that a crash left.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && number < u32::MAX => {
                number += 1;
            }
            opened => return opened.map(|file| (draft, file)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITERS: usize = 4;

    #[test]
    fn of_texts_written_at_once_one_stays_whole_and_no_draft() {
        let directory = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for writer in 0..WRITERS {
                let directory = directory.path();
                scope.spawn(move || {
                    let text = writer.to_string().repeat(1000 * (writer + 1));
                    for _ in 0..50 {
                        replace(directory, "status.json", text.as_bytes()).unwrap();
                    }
                });
            }
        });
        let text = fs::read_to_string(directory.path().join("status.json")).unwrap();
        let writer = text.chars().next().and_then(|digit| digit.to_digit(10)).unwrap() as usize;
        assert_eq!(text, writer.to_string().repeat(1000 * (writer + 1)));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_draft_that_a_crash_left_is_in_nobody_s_way() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(".wish.0"), "half").unwrap();
        replace(directory.path(), "wish", b"resume").unwrap();
        assert_eq!(fs::read_to_string(directory.path().join("wish")).unwrap(), "resume");
    }
}

//! A password on its way to nodetool: a file for its user's eyes, there while nodetool runs.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::nodetool_error::NodetoolError;
use crate::config::Secret;

/// Removed when dropped.
#[derive(Debug)]
pub(super) struct PasswordFile(PathBuf);

impl PasswordFile {
    pub(super) fn make(
        directory: &Path,
        user: &str,
        password: &Secret,
    ) -> Result<Self, NodetoolError> {
        let unfit = |text: &str| text.is_empty() || text.contains(char::is_whitespace);
        if unfit(user) || unfit(password.expose()) {
            return Err(NodetoolError::UnfitPassword);
        }
        let path = directory.join(format!(".jmx-{:032x}", rand::random::<u128>()));
        let failed =
            |source| NodetoolError::PasswordFile { directory: directory.to_owned(), source };
        // bin/nodetool passes its arguments on without quotes.
        if path.to_str().is_none_or(|path| path.contains(char::is_whitespace)) {
            return Err(failed(std::io::Error::other(
                "its path holds blanks, which nodetool splits",
            )));
        }
        let mut options = OpenOptions::new();
        let mut file =
            options.write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
        let made = Self(path);
        let line = format!("{user} {}\n", password.expose());
        file.write_all(line.as_bytes()).map_err(failed)?;
        Ok(made)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for PasswordFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            tracing::warn!(file = %self.0.display(), %error, "a password file cannot be removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    #[test_case("jmx", "two words"; "blank in the password")]
    #[test_case("jmx", "line\nend"; "line end in the password")]
    #[test_case("a b", "x"; "blank in the user")]
    #[test_case("jmx", ""; "empty")]
    fn what_nodetool_would_read_otherwise_is_refused(user: &str, password: &str) {
        let directory = tempfile::tempdir().unwrap();
        let error = PasswordFile::make(directory.path(), user, &Secret::new(password)).unwrap_err();
        assert!(matches!(error, NodetoolError::UnfitPassword));
    }
}

//! Why nodetool gave no answer: its exit statuses say little, so its words are read.

use thiserror::Error;

use super::process::{Finished, ProcessError};

/// What kept nodetool from doing what it was asked.
#[derive(Debug, Error)]
pub enum NodetoolError {
    /// It is not to be found.
    #[error("there is no {0} on the node; give its path as [cassandra] nodetool_executable")]
    Absent(String),
    /// Nothing listens for it.
    #[error("Cassandra does not run, or has no JMX where nodetool looks ({said}); start it")]
    NotRunning {
        /// What it said.
        said: String,
    },
    /// Cassandra is coming up; another try soon will do.
    #[error("Cassandra is starting and not ready for nodetool yet; try again in some seconds")]
    Starting,
    /// The user or password is wrong.
    #[error(
        "JMX does not know {} with this password; correct [cassandra] nodetool_username and \
         nodetool_password", .user.as_deref().unwrap_or("a user without a name")
    )]
    WrongPassword {
        /// Who asked.
        user: Option<String>,
    },
    /// A password is wanted and none was given.
    #[error(
        "JMX wants a password; set [cassandra] nodetool_username and nodetool_password (or \
         nodetool_password_file_path)"
    )]
    PasswordWanted,
    /// A password that nodetool's file cannot hold.
    #[error(
        "nodetool reads its password from a file whose words are parted by blanks, so neither user \
         nor password may hold one; change it"
    )]
    UnfitPassword,
    /// A snapshot of this tag is there already.
    #[error("a snapshot of this name is there already: {said}")]
    SnapshotExists {
        /// What it said.
        said: String,
    },
    /// It was started and did not end.
    #[error("nodetool gave no answer to `{asked}`")]
    NoAnswer {
        /// The command.
        asked: String,
        /// Why.
        source: ProcessError,
    },
    /// It failed otherwise.
    #[error("`nodetool {asked}` failed{}: {said}", .status.map(|status| format!(" with status {status}")).unwrap_or_default())]
    Failed {
        /// The command.
        asked: String,
        /// Its exit status; none if a signal ended it.
        status: Option<i32>,
        /// What it said.
        said: String,
    },
    /// Its answer is not of the form that Cassandra 4.0 to 5.0 give.
    #[error("{executable} answered `{asked}` in a form that is not known: {what}")]
    Garbled {
        /// The command.
        asked: String,
        /// What answered.
        executable: String,
        /// What was looked for.
        what: String,
    },
}

impl NodetoolError {
    /// Sorts a failure by what it said: measured on 5.0.6, statuses 1 and 2 mean many things.
    pub(super) fn of(asked: &str, user: Option<&str>, finished: &Finished) -> Self {
        let all = [finished.stderr.as_str(), finished.stdout.as_str()];
        let has = |words: &str| all.iter().any(|text| text.contains(words));
        let said = said(finished);
        if has("Server is not initialized yet") {
            Self::Starting
        } else if has("Authentication failed! Credentials required") {
            Self::PasswordWanted
        } else if has("Invalid username or password") || has("Authentication failed!") {
            Self::WrongPassword { user: user.map(str::to_owned) }
        } else if has("Failed to connect to") || has("Connection refused") {
            Self::NotRunning { said }
        } else if asked.starts_with("snapshot") && has("already exists") {
            Self::SnapshotExists { said }
        } else {
            Self::Failed { asked: asked.to_owned(), status: finished.status, said }
        }
    }
}

/// The line that tells: `error: …` of a server's exception, `nodetool: …` of nodetool's own, else
/// the last one. Never the Java stack.
fn said(finished: &Finished) -> String {
    let lines = || finished.stderr.lines().chain(finished.stdout.lines()).map(str::trim);
    let telling = |line: &&str| line.starts_with("error:") || line.starts_with("nodetool:");
    lines().find(telling).map_or_else(|| finished.last_words(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(status: i32, stderr: &str) -> NodetoolError {
        let (status, stdout) = (Some(status), String::new());
        let finished = Finished { status, signal: None, stdout, stderr: stderr.to_owned() };
        NodetoolError::of("snapshot -t x", Some("jmx"), &finished)
    }

    #[test]
    fn what_nodetool_of_5_0_6_says_is_sorted() {
        let refused = "nodetool: Failed to connect to '127.0.0.1:7199' - ConnectException: 'Connection refused'.";
        assert!(matches!(failure(1, refused), NodetoolError::NotRunning { .. }));
        let starting = "Exception in thread \"main\" java.lang.IllegalArgumentException: Server is \
                        not initialized yet, cannot run nodetool.\n\tat org.apache";
        assert!(matches!(failure(1, starting), NodetoolError::Starting));
        let wrong =
            "error: Invalid username or password\n-- StackTrace --\njava.lang.SecurityException";
        assert!(matches!(failure(2, wrong), NodetoolError::WrongPassword { user: Some(_) }));
        let none = "error: Authentication failed! Credentials required\n-- StackTrace --\n";
        assert!(matches!(failure(2, none), NodetoolError::PasswordWanted));
        let exists = "error: Snapshot x already exists.\n-- StackTrace --\njava.io.IOException";
        assert!(matches!(failure(2, exists), NodetoolError::SnapshotExists { .. }));
        let unknown = "nodetool: Found unexpected parameters: [statusfoo]\nSee 'nodetool help'";
        let shown = failure(1, unknown).to_string();
        assert!(shown.ends_with("status 1: nodetool: Found unexpected parameters: [statusfoo]"));
    }
}

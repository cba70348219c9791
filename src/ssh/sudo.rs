//! Whether sudo lets us, asked before it matters.

use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;

use super::{Exit, Remote, RemoteCommand, SshError};

/// Why `sudo -n` does not run a program, with the line that would let it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SudoRefusal {
    /// It wants a password, or knows no rule for the account: it says the same to both.
    #[error(
        "sudo asks {user} on {host} for a password; write `{user} ALL=(root) NOPASSWD: {program}` \
         into /etc/sudoers.d/medusafs there (visudo -f), or set use_sudo = False and log in as root"
    )]
    NotAllowed {
        /// Where.
        host: String,
        /// The account there.
        user: String,
        /// What it may not run.
        program: String,
    },
    /// It runs only for terminals, and a terminal would garble data.
    #[error(
        "sudo on {host} runs only in a terminal; write `Defaults:{user} !requiretty` into \
         /etc/sudoers.d/medusafs there (visudo -f)"
    )]
    RequiresTty {
        /// Where.
        host: String,
        /// The account there.
        user: String,
    },
    /// It is not installed, or not in the `PATH` of a login.
    #[error("there is no sudo on {host}; install it, or set use_sudo = False and log in as root")]
    Absent {
        /// Where.
        host: String,
    },
    /// The program was run, or something of sudo's that we do not know went wrong.
    #[error("`sudo -n {program}` failed on {host}: {said}")]
    Failed {
        /// Where.
        host: String,
        /// What was run.
        program: String,
        /// What it said last.
        said: String,
    },
}

/// Runs `command` by sudo to see whether it may, and what to change if not. Take one that does
/// nothing, such as a program's `--version`: sudoers may allow that program alone.
pub async fn probe_sudo(
    remote: &dyn Remote,
    user: &str,
    command: &RemoteCommand,
    deadline: Duration,
) -> Result<Result<(), SudoRefusal>, SshError> {
    // Its messages are told apart by their English text.
    let asked = command.clone().by_sudo().env("LC_ALL", "C");
    let output = remote.run(&asked, Bytes::new(), deadline).await?;
    if output.exit.success() {
        return Ok(Ok(()));
    }
    let (host, user) = (remote.name(), user.to_owned());
    let program = command.argv().first().cloned().unwrap_or_default();
    // Other lines of its, such as "unable to resolve host", come with success too.
    let said = String::from_utf8_lossy(&output.stderr).to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| said.contains(word));
    Ok(Err(if says(&["must have a tty"]) {
        SudoRefusal::RequiresTty { host, user }
    } else if says(&["password is required", "not in the sudoers", "not allowed to execute"])
        || says(&["may not run sudo", "authentication is required"])
    {
        SudoRefusal::NotAllowed { host, user, program }
    } else if output.exit == Exit::Status(127) && says(&["sudo"]) {
        SudoRefusal::Absent { host }
    } else {
        SudoRefusal::Failed { host, program: command.to_string(), said: output.last_words() }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ssh::ScriptedRemote;

    async fn answer(status: u32, stderr: &str) -> Result<(), SudoRefusal> {
        let remote = ScriptedRemote::new("ops@node1", status, stderr);
        let command = RemoteCommand::new(["/opt/agent", "--version"]);
        probe_sudo(&remote, "ops", &command, Duration::from_secs(1)).await.unwrap()
    }

    #[tokio::test]
    async fn each_refusal_of_sudo_is_told_from_the_others() {
        assert_eq!(answer(0, "sudo: unable to resolve host node1\n").await, Ok(()));
        let password = answer(1, "sudo: a password is required\n").await.unwrap_err();
        assert!(password.to_string().contains("`ops ALL=(root) NOPASSWD: /opt/agent`"));
        let tty = answer(1, "sudo: sorry, you must have a tty to run sudo\n").await.unwrap_err();
        assert!(matches!(tty, SudoRefusal::RequiresTty { .. }), "{tty}");
        let absent = answer(127, "env: 'sudo': No such file or directory\n").await.unwrap_err();
        assert!(matches!(absent, SudoRefusal::Absent { .. }), "{absent}");
        let own = answer(1, "agent: cannot start\n").await.unwrap_err();
        assert!(matches!(own, SudoRefusal::Failed { .. }), "{own}");
    }
}

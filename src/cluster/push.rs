//! Brings this program to a node, for as long as it takes to start it there: an agent removes the
//! file that it was started from.

use std::time::Duration;

use bytes::Bytes;

use crate::ssh::{Remote, RemoteCommand, SshErrorKind};

use super::ClusterError;

/// The file is always called so, so that a line of sudoers can name it.
pub const AGENT_FILE: &str = "medusafs-agent";

/// For a small command on a node.
const BRIEFLY: Duration = Duration::from_secs(30);

/// For the program itself: 10 MB over a slow line.
const UPLOAD_WITHIN: Duration = Duration::from_mins(5);

/// Makes a directory that only its owner can write, and refuses one that is somebody else's.
const MAKE_DIRECTORY: &str =
    r#"umask 077; mkdir -p "$1" && test -O "$1" && chmod go-w "$1" && cd "$1" && pwd -P"#;

/// The program on a node.
#[derive(Debug)]
pub(super) struct Pushed {
    /// Its absolute path there.
    pub(super) path: String,
}

/// Puts `program` where it can be run: `wanted` if that is set, else below the home directory of
/// the account, else below `/var/tmp`. A place that is mounted noexec is passed over.
///
/// # Errors
///
/// [`ClusterError::NoAgentDirectory`] with what each place said.
pub(super) async fn push(
    remote: &dyn Remote,
    program: &Bytes,
    wanted: Option<&str>,
) -> Result<Pushed, ClusterError> {
    let mut tried = Vec::new();
    let places = match wanted {
        Some(wanted) => vec![wanted.to_owned()],
        None => places(remote).await?,
    };
    for place in places {
        match push_to(remote, program, &place).await? {
            Ok(pushed) => return Ok(pushed),
            Err(why) => tried.push(format!("{place}: {why}")),
        }
    }
    Err(ClusterError::NoAgentDirectory { node: remote.name(), tried: tried.join("; ") })
}

async fn places(remote: &dyn Remote) -> Result<Vec<String>, ClusterError> {
    let asked = remote
        .run(&RemoteCommand::new(["sh", "-c", r#"echo "$HOME"; id -un"#]), Bytes::new(), BRIEFLY)
        .await
        .map_err(ClusterError::Ssh)?;
    let said = String::from_utf8_lossy(&asked.stdout);
    let mut lines = said.lines().map(str::trim);
    let home = lines.next().filter(|home| home.starts_with('/'));
    let user = lines.next().filter(|user| !user.is_empty()).unwrap_or("nobody");
    let below_home = home.map(|home| format!("{}/.cache/medusafs", home.trim_end_matches('/')));
    Ok(below_home.into_iter().chain([format!("/var/tmp/medusafs-{user}")]).collect())
}

/// The inner error is for trying the next place, the outer one ends it.
async fn push_to(
    remote: &dyn Remote,
    program: &Bytes,
    place: &str,
) -> Result<Result<Pushed, String>, ClusterError> {
    let made = remote
        .run(&RemoteCommand::new(["sh", "-c", MAKE_DIRECTORY, "sh", place]), Bytes::new(), BRIEFLY)
        .await
        .map_err(ClusterError::Ssh)?;
    let directory = String::from_utf8_lossy(&made.stdout).trim().to_owned();
    if !made.exit.success() || !directory.starts_with('/') {
        return Ok(Err(made.last_words()));
    }
    let path = format!("{directory}/{AGENT_FILE}");
    let mut again = true;
    loop {
        match remote.upload(program.clone(), &path, 0o700, UPLOAD_WITHIN).await {
            Ok(()) => {}
            Err(error) if error.kind == SshErrorKind::Failed => return Ok(Err(error.message)),
            Err(error) => return Err(ClusterError::Ssh(error)),
        }
        let version = remote
            .run(&RemoteCommand::new([path.as_str(), "--version"]), Bytes::new(), BRIEFLY)
            .await
            .map_err(ClusterError::Ssh)?;
        if version.exit.success() && version.stdout.starts_with(b"medusafs ") {
            return Ok(Ok(Pushed { path }));
        }
        // The agent of another job, or of a check, had the same file and has removed it.
        if !(std::mem::take(&mut again) && is_gone(remote, &path).await) {
            let why = version.last_words();
            remove(remote, &path).await;
            return Ok(Err(format!("it cannot be run there ({why}); is it mounted noexec?")));
        }
    }
}

/// Whether the file is not there any more.
pub(super) async fn is_gone(remote: &dyn Remote, path: &str) -> bool {
    let there = RemoteCommand::new(["test", "!", "-e", path]);
    let asked = remote.run(&there, Bytes::new(), BRIEFLY).await;
    asked.is_ok_and(|answer| answer.exit.success())
}

/// Takes away a file that no agent was started from. Whatever hinders this hinders nothing else: the
/// next job replaces the file.
pub(super) async fn remove(remote: &dyn Remote, path: &str) {
    let removed =
        remote.run(&RemoteCommand::new(["rm", "-f", "--", path]), Bytes::new(), BRIEFLY).await;
    match removed {
        Ok(output) if output.exit.success() => {}
        Ok(output) => tracing::warn!(node = remote.name(), why = output.last_words(), "agent left"),
        Err(error) => tracing::warn!(node = remote.name(), %error, "agent left"),
    }
}

//! Going to the background: this program is started again with `--ready`, and the one that was
//! typed returns when the other says that the tree answers. No fork: threads would not survive it.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::io::Read;
use std::io::Write;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;

use super::FuseError;

/// What the one in the background writes on its standard output.
const READY: &[u8] = b"ready\n";

/// How a start in the background went.
#[derive(Debug)]
pub enum Started {
    /// The tree answers.
    Ready,
    /// It ended before, and has said why on standard error.
    Ended(ExitStatus),
}

/// Starts this program with `arguments` and waits until it calls [`ready`] or ends.
pub fn start_in_background(arguments: &[OsString]) -> Result<Started, FuseError> {
    let program = std::env::current_exe().map_err(FuseError::Background)?;
    let mut child = command(&program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(FuseError::Background)?;
    let mut said = Vec::new();
    if let Some(mut pipe) = child.stdout.take() {
        pipe.read_to_end(&mut said).map_err(FuseError::Background)?;
    }
    if said == READY {
        return Ok(Started::Ready);
    }
    child.wait().map(Started::Ended).map_err(FuseError::Background)
}

#[expect(clippy::disallowed_methods, reason = "this program itself, which then lives on alone")]
fn command(program: &std::path::Path) -> Command {
    Command::new(program)
}

/// Leaves the terminal: a session of its own, and no directory kept from being unmounted. To be
/// called before the first thread is started.
pub fn leave_terminal() -> Result<(), FuseError> {
    nix::unistd::setsid().map_err(|errno| FuseError::Background(errno.into()))?;
    std::env::set_current_dir("/").map_err(FuseError::Background)
}

/// Says that the tree answers, and lets go of the terminal's streams.
pub fn ready() -> Result<(), FuseError> {
    let said = || -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(READY)?;
        stdout.flush()?;
        let nowhere = OpenOptions::new().read(true).write(true).open("/dev/null")?;
        rustix::stdio::dup2_stdout(&nowhere)?;
        rustix::stdio::dup2_stderr(&nowhere)?;
        Ok(())
    };
    said().map_err(FuseError::Background)
}

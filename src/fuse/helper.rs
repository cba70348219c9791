//! `fusermount3`, which mounts for ordinary users.

use std::ffi::OsStr;
use std::ffi::OsString;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use rustix::net::RecvAncillaryBuffer;
use rustix::net::RecvAncillaryMessage;
use rustix::net::RecvFlags;

use super::FuseError;

const PROGRAM: &str = "fusermount3";

/// Mounts by the helper, which passes us the kernel's descriptor over a socket: its standard
/// input, so that no descriptor need be inherited by number.
pub(super) fn mount(path: &Path, source: &OsStr, read_only: bool) -> Result<OwnedFd, FuseError> {
    let (ours, theirs) = UnixStream::pair().map_err(FuseError::path("mount on", path))?;
    let mut options = OsString::from(if read_only { "ro," } else { "" });
    options.push("nosuid,nodev,noexec,default_permissions,subtype=medusafs,fsname=");
    options.push(escaped(source));
    let output = command()
        .arg("-o")
        .arg(options)
        .arg("--")
        .arg(path)
        .env("_FUSE_COMMFD", "0")
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .map_err(not_started(path))?;
    if !output.status.success() {
        return Err(refused("mount", path, &output.stderr));
    }
    receive(&ours)
        .map_err(FuseError::path("mount on", path))?
        .ok_or_else(|| refused("mount", path, b"it passed no descriptor"))
}

/// Unmounts by the helper.
pub(super) fn unmount(path: &Path, lazily: bool) -> Result<(), FuseError> {
    let output = command()
        .arg(if lazily { "-uz" } else { "-u" })
        .arg("--")
        .arg(path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .output()
        .map_err(not_started(path))?;
    if output.status.success() {
        Ok(())
    } else if String::from_utf8_lossy(&output.stderr).contains("busy") {
        Err(FuseError::Busy(path.to_owned()))
    } else {
        Err(refused("unmount", path, &output.stderr))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "it runs before any task, passes a descriptor back, and ends by itself"
)]
fn command() -> Command {
    let mut command = Command::new(PROGRAM);
    command.env("LC_ALL", "C");
    command
}

fn receive(socket: &UnixStream) -> std::io::Result<Option<OwnedFd>> {
    let mut byte = [0; 1];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    rustix::net::recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let descriptor = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    Ok(descriptor)
}

/// The helper parts options by commas.
fn escaped(source: &OsStr) -> OsString {
    let mut bytes = Vec::new();
    for byte in source.as_bytes() {
        if matches!(byte, b',' | b'\\') {
            bytes.push(b'\\');
        }
        bytes.push(*byte);
    }
    OsString::from_vec(bytes)
}

fn not_started(path: &Path) -> impl FnOnce(std::io::Error) -> FuseError {
    move |error| match error.kind() {
        std::io::ErrorKind::NotFound => FuseError::NoHelper(error),
        _ => FuseError::path("start fusermount3 for", path)(error),
    }
}

fn refused(doing: &'static str, path: &Path, said: &[u8]) -> FuseError {
    let said = String::from_utf8_lossy(said);
    FuseError::Helper { doing, path: path.to_owned(), said: said.trim().replace('\n', "; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comma_in_the_source_is_no_option() {
        assert_eq!(escaped(OsStr::new("/nfs/a,ro\\b")), "/nfs/a\\,ro\\\\b");
    }
}

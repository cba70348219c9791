//! `/sbin/mount.medusafs`: what mount(8) calls for `mount -t medusafs` and for lines of fstab.
//!
//! It turns `SOURCE MOUNTPOINT -o …` into `medusafs mount …`, and medusafs's exit code into one of
//! mount(8)'s. It shares no code with medusafs and reads no environment, for mount(8) runs it as
//! root.

mod arguments;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};

use arguments::Asked;

/// Exit codes of mount(8), those that a helper has use for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    /// It is mounted.
    Mounted = 0,
    /// Wrong usage, or a configuration that is wrong.
    Usage = 1,
    /// The program could not be started.
    System = 2,
    /// It could not be mounted.
    Failed = 32,
}

/// Where medusafs may be installed, if not beside this program. `PATH` is not asked.
const PLACES: [&str; 4] = ["/usr/local/bin", "/usr/bin", "/usr/local/sbin", "/usr/sbin"];

fn main() -> ExitCode {
    let exit = run(std::env::args_os().skip(1));
    ExitCode::from(exit as u8)
}

fn run(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let asked = match Asked::parse(arguments) {
        Ok(asked) => asked,
        Err(what) => {
            say(&what);
            return Exit::Usage;
        }
    };
    let Some(medusafs) = find(std::env::current_exe().ok().as_deref(), &PLACES) else {
        say(&format!(
            "there is no medusafs beside this program, nor in {}; install it there",
            PLACES.join(", ")
        ));
        return Exit::System;
    };
    let arguments = asked.for_medusafs();
    if asked.verbose {
        let shown: Vec<_> = arguments.iter().map(|argument| argument.to_string_lossy()).collect();
        say(&format!("{} {}", medusafs.display(), shown.join(" ")));
    }
    if asked.fake {
        return Exit::Mounted;
    }
    #[expect(
        clippy::disallowed_methods,
        reason = "this package shares no code with medusafs; medusafs mount returns by itself"
    )]
    let status = Command::new(&medusafs).args(arguments).status();
    match status {
        Ok(status) => translate(status),
        Err(error) => {
            say(&format!("cannot start {}: {error}", medusafs.display()));
            Exit::System
        }
    }
}

/// Finds the program: beside this one, its links followed, else where programs are installed.
fn find(this: Option<&Path>, places: &[&str]) -> Option<PathBuf> {
    let beside = this.and_then(Path::parent).map(Path::to_owned);
    let places = places.iter().map(PathBuf::from);
    beside.into_iter().chain(places).map(|place| place.join("medusafs")).find(|file| file.is_file())
}

/// medusafs's exit codes are 0 done, 2 wrong usage or configuration, and others for what failed.
fn translate(status: ExitStatus) -> Exit {
    match status.code() {
        Some(0) => Exit::Mounted,
        Some(2) => Exit::Usage,
        // None: a signal ended it.
        Some(_) | None => Exit::Failed,
    }
}

/// Writes to standard error; that nobody reads there is no reason to fail.
fn say(what: &str) {
    drop(writeln!(io::stderr(), "mount.medusafs: {what}"));
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn exit_codes_become_those_of_mount_8() {
        let translated = |code: i32| translate(ExitStatus::from_raw(code << 8)) as u8;
        assert_eq!([0, 1, 2, 3, 4, 101].map(translated), [0, 32, 1, 32, 32, 32]);
        assert_eq!(translate(ExitStatus::from_raw(9)), Exit::Failed);
    }

    #[test]
    fn medusafs_is_looked_for_beside_the_helper_first() {
        let [beside, installed] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let this = beside.path().join("mount.medusafs");
        let places = [installed.path().to_str().unwrap()];
        assert_eq!(find(Some(&this), &places), None);
        let there = installed.path().join("medusafs");
        std::fs::write(&there, "").unwrap();
        assert_eq!(find(Some(&this), &places), Some(there.clone()));
        assert_eq!(find(None, &places), Some(there));
        let here = beside.path().join("medusafs");
        std::fs::write(&here, "").unwrap();
        assert_eq!(find(Some(&this), &places), Some(here));
    }
}

//! A real mount of a made store, and the tools that people look at it with.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::{Duration, Instant};

use medusafs::fuse::{FuseError, Mount, MountSettings};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::host::PROGRAM;
use super::tree::{Eyes, Made, With};

/// Mounting needs root and /dev/fuse. Where they must be there, a test that cannot run fails.
#[expect(clippy::disallowed_methods, reason = "a test may look whether it runs in CI")]
pub(crate) fn can_mount() -> bool {
    let can = nix::unistd::geteuid().is_root() && Path::new("/dev/fuse").exists();
    assert!(can || std::env::var_os("CI").is_none(), "no root or no /dev/fuse, and this is CI");
    can
}

/// A tree that is mounted until this goes.
pub(crate) struct Mounted {
    pub(crate) eyes: Eyes,
    pub(crate) mount: Option<Mount>,
    pub(crate) runtime: Runtime,
    pub(crate) directory: TempDir,
}

impl Mounted {
    pub(crate) fn usual(made: &Made, passthrough: bool) -> Self {
        Self::with(made, With::default(), passthrough)
    }

    pub(crate) fn with(made: &Made, with: With, passthrough: bool) -> Self {
        let runtime = runtime();
        let eyes = runtime.block_on(Eyes::with(made, with));
        let directory = tempfile::tempdir().unwrap();
        let mount = start(&eyes, &runtime, directory.path(), passthrough).unwrap();
        Self { eyes, mount: Some(mount), runtime, directory }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.directory.path().to_owned()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(mut mount) = self.mount.take() {
            mount.take_away().unwrap();
            self.runtime.block_on(async {
                mount.ended().await.unwrap();
                mount.close().await;
            });
        }
    }
}

pub(crate) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

pub(crate) fn start(
    eyes: &Eyes,
    runtime: &Runtime,
    mountpoint: &Path,
    passthrough: bool,
) -> Result<Mount, FuseError> {
    let settings = MountSettings {
        mountpoint: mountpoint.to_owned(),
        source: "/nfs/store,ro".into(),
        passthrough,
        read_only: false,
    };
    Mount::start(&Arc::clone(&eyes.fs), &settings, runtime.handle())
}

/// Runs a tool, for half a minute at most.
#[expect(
    clippy::disallowed_methods,
    reason = "a tool of the system, not of the program under test"
)]
pub(crate) fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new("timeout").arg("30").arg(program).args(arguments).output().unwrap()
}

/// Looks until it is so, for half a minute.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(30), "never: {what}");
        std::thread::yield_now();
    }
}

/// Runs a shell's line with `$T` for the tree, and returns what it said; it must succeed.
pub(crate) fn shell(tree: &Path, line: &str) -> String {
    let output = try_shell(tree, line);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{line}: {} {said}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) fn try_shell(tree: &Path, line: &str) -> Output {
    run("sh", &["-c", &format!("T={}; cd /; {line}", tree.display())])
}

/// The type and source of what is mounted on `path`, if anything is.
pub(crate) fn mounted(path: &Path) -> Option<(String, String)> {
    let table = fs::read_to_string("/proc/self/mounts").unwrap();
    let path = path.to_str().unwrap();
    table.lines().rev().find_map(|line| {
        let mut columns = line.split(' ');
        let (source, at, kind) = (columns.next()?, columns.next()?, columns.next()?);
        (at == path).then(|| (kind.to_owned(), source.to_owned()))
    })
}

/// The process that serves a tree that the program mounted.
pub(crate) fn serving(tree: &Path) -> u32 {
    let tree = tree.to_str().unwrap();
    let processes = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u32>().ok());
    let mine = processes.into_iter().find(|pid| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<_> = line.split(|byte| *byte == 0).collect();
        words.first().is_some_and(|program| *program == PROGRAM.as_bytes())
            && words.contains(&tree.as_bytes())
    });
    mine.unwrap()
}

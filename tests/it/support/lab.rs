//! A real cluster for tests: `scripts/cluster`, tied to this process so that nothing of it outlives
//! the tests, however they end.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Instant;

/// Of each lab, what the rows were at first, if it runs and the last test left it in good order. No
/// more than two tests have one at a time: a lab takes two gigabytes. While one waits for a node to
/// start, the other has the processors.
static LABS: [Mutex<Option<String>>; 2] = [const { Mutex::new(None) }; 2];

/// This program, as the controller and the nodes see it too.
pub(crate) const MEDUSAFS: &str = env!("CARGO_BIN_EXE_medusafs");

/// What tests change of a host's configuration and keys; kept at the start, put back after a test.
/// Nothing in which the controller has the project or cargo's home: they are the machine's own.
const KEPT: &str = "etc/medusa etc/ssh etc/sudoers.d etc/cassandra root/.ssh home/medusa/.ssh";

/// A running lab: three nodes with data, and a controller.
pub(crate) struct Lab {
    directory: PathBuf,
    left: MutexGuard<'static, Option<String>>,
    begun: Instant,
}

/// What a command left.
#[derive(Debug)]
pub(crate) struct Ran {
    /// Its exit code; none if a signal ended it.
    pub(crate) code: Option<i32>,
    /// Its standard output.
    pub(crate) out: String,
    /// Its standard error.
    pub(crate) err: String,
}

impl Ran {
    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// Its output, trimmed, if it succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.out, self.err);
        self.out.trim().to_owned()
    }
}

fn a_free_lab() -> (usize, MutexGuard<'static, Option<String>>) {
    let free = LABS.iter().enumerate().find_map(|(number, lab)| match lab.try_lock() {
        Ok(left) => Some((number, left)),
        Err(TryLockError::Poisoned(poisoned)) => Some((number, poisoned.into_inner())),
        Err(TryLockError::WouldBlock) => None,
    });
    free.unwrap_or_else(|| (0, LABS[0].lock().unwrap_or_else(PoisonError::into_inner)))
}

impl Lab {
    /// A lab whose nodes are up, with an empty store, no state of medusafs anywhere, and what the
    /// configuration of a backup host has beside Medusa's. The nodes' rows are the same for every
    /// test.
    pub(crate) fn up() -> Self {
        let (number, left) = a_free_lab();
        let directory =
            std::env::temp_dir().join(format!("medusafs-lab-test-{}-{number}", std::process::id()));
        let mut lab = Self { directory, left, begun: Instant::now() };
        if lab.left.is_some() && !lab.is_as_at_first() {
            lab.cluster(&["down"]).ok();
            *lab.left = None;
        }
        if lab.left.is_some() {
            lab.put_right();
        } else {
            lab.start();
            *lab.left = Some(lab.count());
        }
        lab.settings("");
        // As `medusafs check` asks of whoever begins a store.
        lab.ctl_sh("mkdir /mnt/backup/medusa").ok();
        lab
    }

    fn start(&self) {
        self.cluster(&["up", "3", "--tied", &std::process::id().to_string()]).ok();
        let keep = format!("cd / && mkdir /var/lib/kept && cp -a --parents {KEPT} /var/lib/kept");
        // A power cut takes what was not synced.
        self.on_all_nodes(&format!("{keep} && sync"));
        self.ctl_sh(&format!("{keep} 2>/dev/null; sync")).ok();
    }

    /// Whether all hosts have power and one data disk, and Cassandra runs.
    fn is_as_at_first(&self) -> bool {
        let status = self.cluster(&["status"]).ok();
        let run = status.lines().filter(|line| line.ends_with("Cassandra runs"));
        run.count() == 3
            && status.lines().count() == 4
            && self.on_all_nodes("ls /etc/cassandra/second-disk 2>/dev/null; true").is_empty()
    }

    /// Takes away what a test leaves that ended well.
    fn put_right(&self) {
        let put_back = format!(
            "for place in {KEPT}; do \
             [ ! -e /var/lib/kept/$place ] || rsync -a --delete /var/lib/kept/$place/ /$place/; done; \
             kill -HUP $(cat /run/sshd.pid)"
        );
        self.ctl_sh(&format!(
            "set -e; pkill -KILL -x medusafs || true
             for place in $(findmnt -n -t fuse.medusafs -o TARGET); do umount -l $place; done
             ! [ -e /mnt/medusa ] || {{ chattr -i /mnt/medusa; rmdir /mnt/medusa; }}
             find /mnt/backup -xdev -mindepth 1 ! -name lost+found -delete
             rm -rf /var/lib/medusafs /var/cache/medusafs
             {put_back}"
        ))
        .ok();
        self.on_all_nodes(&format!(
            "set -e; pkill -KILL -x medusafs-agent || true
             rm -rf /var/lib/cassandra/data/*/*/snapshots /var/lib/cassandra/data/.medusafs \
                /var/lib/cassandra/.fill
             {put_back}"
        ));
        self.cluster(&["wait"]).ok();
    }

    /// Writes medusafs.ini on the controller: the first node as contact point, a short hold time,
    /// and `more`, which may have another.
    pub(crate) fn settings(&self, more: &str) {
        let hold = if more.contains("restore_hold") { "" } else { "restore_hold = 1s" };
        let text = format!("[medusafs]\ncontact_points = node1.cass.test\n{hold}\n{more}\n");
        self.ctl_sh(&format!("cat > /etc/medusa/medusafs.ini <<'E'\n{text}E\n")).ok();
    }

    /// `scripts/cluster VERB …` of this lab.
    pub(crate) fn cluster(&self, verb: &[&str]) -> Ran {
        Ran::of(self.command(verb).output().unwrap())
    }

    #[expect(clippy::disallowed_methods, reason = "a test starts what it tests")]
    fn command(&self, verb: &[&str]) -> Command {
        let mut command = Command::new("scripts/cluster");
        command.args(verb).env("LAB", &self.directory).stdin(Stdio::null());
        command
    }

    /// A command on the controller.
    pub(crate) fn ctl(&self, argv: &[&str]) -> Ran {
        self.cluster(&[&["ctl"], argv].concat())
    }

    /// A line of shell on the controller.
    pub(crate) fn ctl_sh(&self, script: &str) -> Ran {
        self.ctl(&["sh", "-c", script])
    }

    /// Mounts the store on the controller's /mnt/medusa.
    pub(crate) fn mount(&self) {
        self.medusafs(&["mount", "/mnt/medusa"]).ok();
    }

    /// Reads a control file until it has this line, and says so; the test's own deadline is that
    /// of the job.
    pub(crate) fn until(&self, file: &str, line: &str) {
        let script = format!(
            "for i in $(seq 1500); do grep -qx '{line}' {file} 2>/dev/null && exit; sleep 0.02; \
             done; cat {file}; exit 1"
        );
        self.ctl_sh(&script).ok();
    }

    /// This program on the controller.
    pub(crate) fn medusafs(&self, arguments: &[&str]) -> Ran {
        self.ctl(&[&[MEDUSAFS], arguments].concat())
    }

    /// A line of shell on a node, as root.
    pub(crate) fn node_sh(&self, node: u8, script: &str) -> Ran {
        self.cluster(&["exec", &node.to_string(), "sh", "-c", script])
    }

    /// Real Medusa on a node.
    pub(crate) fn medusa(&self, node: u8, arguments: &[&str]) -> Ran {
        self.cluster(&[&["exec", &node.to_string(), "medusa"], arguments].concat())
    }

    /// Waits until all nodes are up. The rows of every table and view and the answers of indexes and
    /// aggregates must be, at consistency level ALL, what they were at first.
    #[track_caller]
    pub(crate) fn has_all_rows(&self, after: &str) {
        self.cluster(&["wait"]).ok();
        assert_eq!(Some(self.count()), *self.left, "{after}");
    }

    fn count(&self) -> String {
        self.cluster(&["count"]).ok()
    }

    /// Snapshots of ours or Medusa's that are left on any node.
    pub(crate) fn snapshots_left(&self) -> String {
        self.on_all_nodes(
            "find /var/lib/cassandra*/data -ignore_readdir_race -type d \
             -path '*/snapshots/medusa*' -prune",
        )
    }

    /// Processes and files of an agent that are left on any node.
    pub(crate) fn agents_left(&self) -> String {
        self.on_all_nodes(
            "pgrep -lx medusafs-agent; \
             find / -xdev -name 'medusafs-agent*' -not -path '/proc/*' 2>/dev/null; true",
        )
    }

    fn on_all_nodes(&self, script: &str) -> String {
        (1..=3).map(|node| self.node_sh(node, script).ok()).collect()
    }
}

impl Drop for Lab {
    #[expect(clippy::print_stderr, reason = "a test may say how long it took")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            *self.left = None;
            drop(self.command(&["down"]).output());
        } else {
            // Behind the test's name, which has no end of line yet.
            eprint!("({:.0} s) ", self.begun.elapsed().as_secs_f64());
        }
    }
}

//! A host with a configuration, a key and a share, for the real program to be used on.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

use super::mounted::run;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_medusafs");

/// A host with a key, a share with an empty store, and a configuration that is right.
pub(crate) struct Host {
    pub(crate) directory: TempDir,
}

impl Host {
    pub(crate) fn new() -> Self {
        let host = Self { directory: tempfile::tempdir().unwrap() };
        fs::create_dir_all(host.path("share/medusa/index/backup_index")).unwrap();
        fs::create_dir(host.path("empty")).unwrap();
        host.key("key", 0o600, "");
        let root = host.directory.path().display();
        host.write(
            "medusa.ini",
            &format!(
                "[cassandra]\nconfig_file = /etc/cassandra/cassandra.yaml\n[storage]\n\
                 storage_provider = local\nbase_path = {root}/share\nbucket_name = medusa\n[ssh]\n\
                 username = root\nkey_file = {root}/key\n"
            ),
        );
        // Nobody is there: what gets so far that it asks a node has gone too far.
        host.write(
            "medusafs.ini",
            &format!(
                "[medusafs]\ncontact_points = 127.255.255.254\nstate_dir = {root}/state\n\
                 cache_dir = {root}/cache\n"
            ),
        );
        host
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    /// Replaces text of `medusa.ini`.
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let text = fs::read_to_string(self.path("medusa.ini")).unwrap();
        assert!(text.contains(from), "{text}");
        self.write("medusa.ini", &text.replace(from, to));
    }

    pub(crate) fn key(&self, name: &str, mode: u32, passphrase: &str) {
        let path = self.path(name);
        let path = path.to_str().unwrap();
        let made = run("ssh-keygen", &["-q", "-t", "ed25519", "-N", passphrase, "-f", path]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    /// Everything below the directory, with times and sizes.
    pub(crate) fn everything(&self) -> String {
        let root = self.directory.path().to_str().unwrap();
        let found = run("find", &[root, "-printf", "%p %y %m %s %T@\n"]);
        let mut lines: Vec<_> =
            String::from_utf8(found.stdout).unwrap().lines().map(str::to_owned).collect();
        lines.sort();
        lines.join("\n")
    }

    /// Runs the program with this configuration.
    pub(crate) fn medusafs(&self, arguments: &[&str]) -> Output {
        let ini = self.path("medusa.ini");
        let mut all = arguments.to_vec();
        all.extend(["-c", ini.to_str().unwrap()]);
        run(PROGRAM, &all)
    }
}

/// Runs a shell's lines where mounts are seen by nobody else, and no other tree of ours is.
#[expect(clippy::disallowed_methods, reason = "a shell, not the program under test")]
pub(crate) fn in_namespace(script: &str) -> Output {
    // Other tests have theirs mounted at the same time: the copies of those go, not they.
    let alone = "while read -r _ at kind _; do
        case $kind in fuse.medusafs) umount -l \"$at\" ;; esac
        done < /proc/self/mounts";
    let script = format!("{alone}\n{script}");
    let unshare = ["60", "unshare", "--mount", "--propagation", "private", "sh", "-c", &script];
    Command::new("timeout").args(unshare).env_remove("SSH_AUTH_SOCK").output().unwrap()
}

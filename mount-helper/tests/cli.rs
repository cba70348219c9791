//! The helper as mount(8) calls it, beside a medusafs that only writes down how it was called.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]
#![expect(clippy::disallowed_methods, reason = "the helper's tests share no code with medusafs")]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::TempDir;

/// A directory with a copy of the helper and a script in the place of medusafs.
struct Installed {
    directory: TempDir,
    /// While one test forks, no other may have a program open for writing: the child would inherit
    /// it, and the program would be "busy".
    _alone: MutexGuard<'static, ()>,
}

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

impl Installed {
    /// The script writes its arguments, a line for each, and ends with this code.
    fn with_exit(code: u8) -> Self {
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let directory = tempfile::tempdir().unwrap();
        fs::copy(env!("CARGO_BIN_EXE_mount-medusafs"), directory.path().join("mount.medusafs"))
            .unwrap();
        let script = format!(
            "#!/bin/sh\nprintf '%s\\n' \"$@\" > \"$0.called\"\necho 'what medusafs says' >&2\nexit {code}\n"
        );
        let medusafs = directory.path().join("medusafs");
        fs::write(&medusafs, script).unwrap();
        fs::set_permissions(&medusafs, Permissions::from_mode(0o755)).unwrap();
        Self { directory, _alone: alone }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn mount(&self, arguments: &[&str]) -> Output {
        Command::new(self.path("mount.medusafs")).args(arguments).output().unwrap()
    }

    /// How medusafs was called, blanks between; empty if it was not.
    fn called(&self) -> String {
        let called = fs::read_to_string(self.path("medusafs.called")).unwrap_or_default();
        called.lines().collect::<Vec<_>>().join(" ")
    }
}

const INI: &str = "/etc/medusa/medusa.ini";

#[test]
fn a_line_of_fstab_becomes_a_call_of_medusafs() {
    let installed = Installed::with_exit(0);
    let options =
        "rw,_netdev,nofail,x-systemd.automount,allow_delete,contact_points=\"a,b\",noexec";
    let output = installed.mount(&[INI, "/mnt/backups", "-o", options, "-t", "medusafs"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(installed.called(), format!("mount -c {INI} -o {options} /mnt/backups"));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "what medusafs says\n");
}

#[test]
fn a_directory_as_source_is_looked_at_as_a_store() {
    let installed = Installed::with_exit(0);
    let store = installed.path("a store");
    fs::create_dir(&store).unwrap();
    let store = store.to_str().unwrap();
    installed.mount(&[store, "/mnt", "-o", "ro"]);
    assert_eq!(installed.called(), format!("mount --store {store} -o ro /mnt"));
}

#[test]
fn the_exit_code_is_one_of_mount_8() {
    for (medusafs, mount) in [(0, 0), (1, 32), (2, 1), (3, 32), (4, 32)] {
        let output = Installed::with_exit(medusafs).mount(&[INI, "/mnt"]);
        assert_eq!(output.status.code(), Some(mount), "medusafs ended with {medusafs}");
    }
}

#[test]
fn a_fake_mount_says_what_it_would_do_and_does_not() {
    let installed = Installed::with_exit(1);
    let output = installed.mount(&[INI, "/mnt", "-fv", "-o", "mode=full"]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(installed.called(), "");
    let said = String::from_utf8(output.stderr).unwrap();
    let medusafs = fs::canonicalize(installed.path("medusafs")).unwrap();
    let wanted =
        format!("mount.medusafs: {} mount -c {INI} -o mode=full /mnt\n", medusafs.display());
    assert_eq!(said, wanted);
}

#[test]
fn wrong_usage_ends_with_1_and_says_how_it_goes() {
    let installed = Installed::with_exit(0);
    let output = installed.mount(&[INI]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("two places are needed") && said.contains("usage:"), "{said}");
    assert_eq!(installed.called(), "");
}

#[test]
fn a_medusafs_that_cannot_be_started_is_the_systems_fault() {
    let installed = Installed::with_exit(0);
    fs::set_permissions(installed.path("medusafs"), Permissions::from_mode(0o644)).unwrap();
    let output = installed.mount(&[INI, "/mnt"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot start"));
}

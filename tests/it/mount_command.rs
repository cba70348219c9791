//! The tree by mount(8), umount(8), fstab and findmnt(8), with the real helper.

use std::path::Path;
use std::process::Command;

use crate::support::archive::unpacked;
use crate::support::host::{Host, PROGRAM, in_namespace};
use crate::support::mounted::can_mount;
use crate::support::tree::Made;

/// The helper, built from what stands here: this package's tests do not bring the other's program.
#[expect(clippy::disallowed_methods, reason = "cargo, not the program under test")]
fn helper() -> String {
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--offline", "--package", "mount-helper"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .unwrap();
    assert!(built.success());
    Path::new(PROGRAM).with_file_name("mount-medusafs").to_str().unwrap().to_owned()
}

/// Runs lines where the helper is installed beside the program, with `$R` for the host's directory,
/// `$I` for its medusa.ini and `$T` for a directory to mount on. Everything that was mounted is
/// gone at the end.
fn with_helper(host: &Host, lines: &str) -> String {
    let (root, helper) = (host.directory.path().display(), helper());
    let script = format!(
        "set -eu; R={root}; I=$R/medusa.ini; T=$R/tree; export LC_ALL=C
        mount -t tmpfs ours /mnt; mkdir /mnt/up /mnt/work $T
        mount -t overlay -o lowerdir=/usr/sbin,upperdir=/mnt/up,workdir=/mnt/work ours /usr/sbin
        install {helper} /usr/sbin/mount.medusafs; install {PROGRAM} /usr/sbin/medusafs
        ln -s mount.medusafs /usr/sbin/mount.fuse.medusafs
        fstab() {{ echo \"$*\" >$R/fstab; mount --bind $R/fstab /etc/fstab; }}
        trap 'umount $T 2>/dev/null || true' EXIT
        {lines}"
    );
    let output = in_namespace(&script);
    let said = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{lines}: {said}{errors}");
    said
}

#[test]
fn mount_and_umount_and_findmnt_know_the_tree() {
    if !can_mount() {
        return;
    }
    let host = Host::new();
    let said = with_helper(
        &host,
        "mount -t medusafs $I $T
        findmnt -n -t fuse.medusafs -o TARGET,SOURCE,FSTYPE | sed s,$R,R,g
        findmnt -n -o OPTIONS $T | grep -o '^rw'
        ls $T
        umount $T
        mount -t fuse.medusafs $I $T
        umount $T
        findmnt $T || echo gone",
    );
    let lines: Vec<_> = said.split_whitespace().collect();
    assert_eq!(lines[..4], ["R/tree", "R/medusa.ini", "fuse.medusafs", "rw"], "{said}");
    assert_eq!(lines.last(), Some(&"gone"), "{said}");
    assert!(said.contains("\nbackups\n") && said.contains("\nrestore\n"), "{said}");
}

#[test]
fn a_line_of_fstab_mounts_with_its_settings_and_is_mounted_once() {
    if !can_mount() {
        return;
    }
    let host = Host::new();
    let said = with_helper(
        &host,
        "fstab \"$I $T medusafs nofail,_netdev,user,noatime,x-systemd.automount,keep_last=7,\
         contact_points=\\\"127.0.0.9,127.0.0.8\\\" 0 0\"
        mount $T
        grep -oE 'contact_points = [^#]*|keep_last = 7' $T/.medusa/config
        mount -a
        findmnt -n -t fuse.medusafs | wc -l
        umount $T",
    );
    assert!(said.contains("contact_points = 127.0.0.9, 127.0.0.8"), "{said}");
    assert!(said.contains("keep_last = 7") && said.ends_with("\n1\n"), "{said}");
}

#[test]
fn a_read_only_mount_shows_everything_and_begins_nothing() {
    if !can_mount() {
        return;
    }
    let host = Host::new();
    let made = Made::usual();
    let store = made.root().display();
    let said = with_helper(
        &host,
        &format!(
            "for source in $I {store}; do
            mount -t medusafs -o ro $source $T
            findmnt -n -o OPTIONS $T | grep -o '^ro'
            ls $T/backups
            mkdir $T/backups/x 2>&1 && exit 1
            echo 1 2>&1 >$T/.medusa/version && exit 1
            umount $T; done"
        ),
    );
    assert_eq!(said.matches("ro\n").count(), 2, "{said}");
    assert_eq!(said.matches("Read-only file system").count(), 4, "{said}");
    assert!(said.contains("latest\nnew\nold\nwhole\n"), "{said}");
    assert!(!host.path("state/jobs").exists() && !host.path("state/staging").exists());
}

#[test]
fn who_cannot_write_to_state_dir_is_told_so_and_can_look() {
    if !can_mount() {
        return;
    }
    let host = Host::new();
    let said = with_helper(
        &host,
        "mount -t medusafs -o state_dir=$I/x $I $T 2>&1 && exit 9 || [ $? = 1 ]
        mount -t medusafs -o ro,state_dir=$I/x $I $T
        ls $T
        umount $T",
    );
    for says in ["medusa.ini/x/staging", "Not a directory", "-o state_dir=", "-o ro", "backups\n"] {
        assert!(said.contains(says), "{says}: {said}");
    }
}

#[test]
fn what_was_copied_last_is_there_in_the_next_mount() {
    if !can_mount() {
        return;
    }
    let host = Host::new();
    let store = unpacked("whole");
    let said = with_helper(
        &host,
        &format!(
            "cp -r {}/. $R/share/medusa/; N=node1.example.com
            mount -t medusafs $I $T
            mkdir $R/second; mount -t medusafs $I $R/second
            cp $T/backups/diff2/$N/schema.cql $R/second/restore/$N/ 2>&1 && exit 9
            tail -1 $R/second/.medusa/last_error
            cp $T/backups/diff2/$N/manifest.json $T/restore/$N/
            umount $R/second; umount $T
            mount -t medusafs $I $T
            until [ \"$(cat $T/restore/$N/.medusa/state)\" = partial ]; do :; done
            ls $T/restore/$N
            cp $T/backups/diff2/$N/schema.cql $T/restore/$N/
            umount $T",
            store.path().display()
        ),
    );
    assert!(said.ends_with("\nmanifest.json\n"), "{said}");
    let first = host.path("tree");
    let busy = format!("EBUSY: another mount of this configuration, on {}", first.display());
    assert!(said.contains(&busy), "{said}");
}

#[test]
fn what_mount_8_cannot_have_is_refused_by_name_with_its_own_exit_codes() {
    if !can_mount() {
        return;
    }
    let host = Host::new();
    let said = with_helper(
        &host,
        "no() { code=$1; shift; \"$@\" 2>&1 && exit 9 || [ $? = $code ] || exit 8; }
        no 1 mount -t medusafs -o colour=red $I $T
        no 1 mount -t medusafs -o nosymfollow,context=x $I $T
        mount -s -t medusafs -o colour=red,ro $I $T
        findmnt -n -o OPTIONS $T | grep -o '^ro' >/dev/null
        umount $T
        no 1 mount -t medusafs /etc $T
        no 1 mount -t medusafs $R/none.ini $T
        sed s,$R/share,$R/gone, $I >$R/gone.ini; cp $R/medusafs.ini $R/gone.ini.d 2>/dev/null || true
        no 32 mount -t medusafs $R/gone.ini $T
        mount -t medusafs $I $T
        no 1 mount -o remount,ro $T
        no 1 mount -t medusafs -o remount,ro $I $T
        no 32 mount -t medusafs $I $T
        findmnt -n -o OPTIONS $T | grep -o '^rw'
        umount $T",
    );
    for says in [
        "option colour: medusafs has no such option",
        "/etc is no store of Medusa",
        "there is no such file",
        "the share is not there",
        "unmount it and mount it again; jobs go on meanwhile",
        "is in use",
    ] {
        assert!(said.contains(says), "{says}: {said}");
    }
    assert!(!said.contains("usage:"), "what is refused by name needs no lesson: {said}");
}

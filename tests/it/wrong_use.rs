//! The real program, wrongly used: one sentence, the right exit code, and nothing is made.

use std::fs;

use test_case::test_case;

use crate::support::host::{Host, PROGRAM, in_namespace};
use crate::support::mounted::can_mount;
use crate::support::sshd::Sshd;

/// Every command that reads the configuration and then needs more.
const ALL: &[&str] = &["mount MOUNTPOINT", "check", "backup one", "restore one", "list", "status"];

/// Those of them that begin work on nodes.
const WORKING: &[&str] = &["mount MOUNTPOINT", "check", "backup one", "restore one"];

/// Puts a mount into the namespace's own fstab, and leaves no file.
const EXPECT: &str = "expect() { echo \"nas:/x $1 nfs _netdev 0 0\" >$R.fstab; \
                      mount --bind $R.fstab /etc/fstab; rm $R.fstab; }";

/// What a command says on standard error, after `before` in a mount namespace of its own. It
/// must end with `code`, say one sentence, and change nothing.
fn refused(host: &Host, before: &str, command: &str, code: i32) -> String {
    let seen = host.everything();
    let root = host.directory.path().to_str().unwrap();
    let mut words = command.split(' ');
    let mut line = format!("{PROGRAM} {}", words.next().unwrap());
    if !command.starts_with("mount --store") && !command.contains("-c ") {
        line.push_str(" -c \"$R/medusa.ini\"");
    }
    for word in words {
        line.push(' ');
        line.push_str(&word.replace("MOUNTPOINT", "\"$R/mountpoint\""));
    }
    if command.starts_with("restore") && !command.contains("--node") {
        line.push_str(" --node n1");
    }
    let script = format!(
        "R={root}; {EXPECT}\n{before}\n{line}; code=$?; cat /proc/self/mountinfo; exit $code"
    );
    let output = in_namespace(&script);
    let said = String::from_utf8(output.stderr).unwrap();
    let mounts = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(code), "{command}: {said}");
    assert_eq!(said.lines().count(), 1, "{command}: {said}");
    assert!(said.starts_with("medusafs: ") && said.len() > 40, "{command}: {said}");
    assert!(!mounts.contains("fuse.medusafs"), "{command}: {mounts}");
    assert_eq!(host.everything(), seen, "{command} has left something behind");
    said
}

#[test_case("key_gone", 0o600, "", "there is no key file"; "missing")]
#[test_case("key_locked", 0o600, "secret", "is encrypted"; "encrypted")]
#[test_case("key_open", 0o644, "", "can be used by others (mode 0644)"; "readable by all")]
fn a_key_file_that_cannot_be_used_is_refused_before_anything_begins(
    name: &str,
    mode: u32,
    passphrase: &str,
    says: &str,
) {
    if !can_mount() {
        return;
    }
    let host = Host::new();
    if name != "key_gone" {
        host.key(name, mode, passphrase);
    }
    host.edit("/key\n", &format!("/{name}\n"));
    for command in WORKING {
        let said = refused(&host, "", command, 2);
        assert!(said.contains(says) && said.contains(name), "{said}");
        assert!(!said.contains("secret"), "{said}");
    }
}

#[test]
fn a_broken_ini_is_refused_with_its_line_by_every_command() {
    if !can_mount() {
        return;
    }
    let host = Host::new();
    let whole = fs::read_to_string(host.path("medusa.ini")).unwrap();
    let half = format!("{}bucket", whole.split("bucket_name").next().unwrap());
    let ini = host.path("medusa.ini");
    for (text, line, says) in [
        (&half, 6, "half written"),
        (&whole.replace("[storage]", "[storage"), 3, ""),
        (&whole.replace("storage_provider = local", "storage_provider = tape"), 4, "tape"),
    ] {
        host.write("medusa.ini", text);
        for command in ALL {
            let said = refused(&host, "", command, 2);
            assert!(said.contains(&format!("{}:{line}: ", ini.display())), "{said}");
            assert!(said.contains(says), "{said}");
        }
    }
    host.write("medusa.ini", &whole);
    host.write("medusafs.ini", "[medusafs]\n\nrestore_hold = soon\n");
    for command in ALL {
        let said = refused(&host, "", command, 2);
        assert!(said.contains("medusafs.ini:3: [medusafs] restore_hold: "), "{said}");
    }
    fs::remove_file(&ini).unwrap();
    for command in ALL {
        let said = refused(&host, "", command, 2);
        assert!(said.contains("there is no such file; name Medusa's with -c"), "{said}");
    }
}

#[test]
fn a_share_that_is_not_mounted_is_told_from_an_empty_store() {
    if !can_mount() {
        return;
    }
    for (from, to, before, says) in [
        ("/share\n", "/gone\n", "", "does not exist"),
        ("/share\n", "/empty\n", "", "is empty, so the share is not mounted there"),
        ("medusa\n[", "other\n[", "", "there is no store at"),
        ("/share\n", "/share\n", "expect $R/share", "is in /etc/fstab and not mounted; `mount "),
        ("/share\n", "/share\n", "expect $R", "which is in /etc/fstab and not mounted; `mount "),
    ] {
        let host = Host::new();
        host.edit(from, to);
        for command in ALL {
            let said = refused(&host, before, command, 3);
            assert!(said.contains(says), "{said}");
        }
    }
}

#[test]
fn without_a_cluster_no_command_asks_this_host_instead() {
    if !can_mount() {
        return;
    }
    let host = Host::new();
    let own = fs::read_to_string(host.path("medusafs.ini")).unwrap();
    let none = own.replace("127.255.255.254", "none");
    // Where nothing is said, this host is meant only if a Cassandra is set up on it.
    let unsaid = own.replace("contact_points = 127.255.255.254\n", "");
    host.edit("/etc/cassandra/cassandra.yaml", "/nowhere/cassandra.yaml");
    for own in [none, unsaid] {
        host.write("medusafs.ini", &own);
        for command in ["check", "backup one", "restore one", "trust", "trust --node n1"] {
            let said = refused(&host, "", command, 2);
            assert!(said.contains("no contact point is configured"), "{said}");
            assert!(said.contains("name a node in contact_points of medusafs.ini"), "{said}");
        }
    }
}

#[test]
fn what_holds_no_backups_is_no_store() {
    if !can_mount() {
        return;
    }
    let host = Host::new();
    fs::create_dir_all(host.path("photos/2026")).unwrap();
    let root = host.directory.path().display().to_string();
    let said = refused(&host, "", &format!("mount --store {root}/photos MOUNTPOINT"), 2);
    assert!(said.contains("photos is no store of Medusa: it holds \"2026\""), "{said}");
    let said = refused(&host, "", &format!("mount --store {root}/medusa.ini MOUNTPOINT"), 2);
    assert!(said.contains("medusa.ini is no directory"), "{said}");
    for empty in ["empty", "gone"] {
        refused(&host, "", &format!("mount --store {root}/{empty} MOUNTPOINT"), 3);
    }
    fs::write(host.path("share/file"), "").unwrap();
    host.edit("bucket_name = medusa", "bucket_name = file");
    for command in ALL {
        let said = refused(&host, "", command, 2);
        assert!(said.contains("share/file is no directory; see bucket_name"), "{said}");
    }
    host.edit("bucket_name = file", "bucket_name = photos");
    host.edit("/share\n", "/\n");
    for command in ALL {
        let said = refused(&host, "", command, 2);
        assert!(said.contains("is no store of Medusa"), "{said}");
    }
}

#[test]
fn a_mountpoint_in_use_is_left_as_it_is() {
    if !can_mount() {
        return;
    }
    let host = Host::new();
    fs::create_dir(host.path("mountpoint")).unwrap();
    let said = refused(&host, "mount -t tmpfs theirs $R/mountpoint", "mount MOUNTPOINT", 4);
    assert!(said.contains("is in use: a file system of type tmpfs from \"theirs\""), "{said}");
    let said = refused(&host, "", "mount MOUNTPOINT/../key", 2);
    assert!(said.contains("is no directory"), "{said}");
}

#[test]
fn without_fuse_no_mountpoint_is_made() {
    if !can_mount() {
        return;
    }
    let host = Host::new();
    let root = host.directory.path().display();
    let store = format!("mount --store {root}/share/medusa MOUNTPOINT");
    for command in ["mount MOUNTPOINT", "mount -f MOUNTPOINT", &store] {
        let said = refused(&host, "mount -t tmpfs dev /dev", command, 3);
        assert!(said.contains("there is no FUSE on this host") && said.contains("modprobe fuse"));
    }
    // What needs no FUSE goes on.
    let listed = format!("mount -t tmpfs dev /dev; {PROGRAM} list -c {root}/medusa.ini");
    assert_eq!(in_namespace(&listed).status.code(), Some(0));
}

#[test_case("mount -o colour=red MOUNTPOINT", "option colour: medusafs has no such option"; "an unknown option")]
#[test_case("mount -o ro,alow_delete MOUNTPOINT", "(is allow_delete meant?)"; "a misspelt option")]
#[test_case("list -o colour=red", "option colour: "; "of a command that looks")]
#[test_case("list -o ro", "takes the keys of [medusafs], node.NAME.ssh and node.NAME.store"; "an option of a mount alone")]
#[test_case("trust a:b:", "is no HOST, HOST:PORT"; "no host")]
#[test_case("mount -o mode=half MOUNTPOINT", "option mode: [medusafs] mode: "; "a wrong value")]
#[test_case("mount -o remount,ro MOUNTPOINT", "unmount it and mount it again"; "a remount")]
#[test_case("mount -o a='\"b,c' MOUNTPOINT", "a quote that is not closed"; "an open quote")]
#[test_case("mount --frob MOUNTPOINT", "see `medusafs mount --help`"; "an unknown argument")]
#[test_case("mount", "required arguments were not provided: <MOUNTPOINT>"; "no mountpoint")]
#[test_case("frobnicate now", "unrecognized subcommand"; "an unknown command")]
#[test_case("backup 'a/b'", "is no name for a backup: "; "a wrong name")]
#[test_case("backup index", "the store or the tree uses it itself"; "a name of the store's own")]
#[test_case("backup latest", "the store or the tree uses it itself"; "a name of the tree's own")]
#[test_case("restore nightly", "no backup nightly has a node n1"; "a backup that is not there")]
fn a_wrong_word_is_refused_by_name(command: &str, says: &str) {
    if !can_mount() {
        return;
    }
    let said = refused(&Host::new(), "", command, 2);
    assert!(said.contains(says), "{said}");
}

#[test]
fn looking_makes_no_state() {
    let host = Host::new();
    let seen = host.everything();
    for command in ["list", "status", "jobs"] {
        let output = host.medusafs(&[command]);
        assert_eq!(output.status.code(), Some(0), "{command}");
    }
    let json = host.medusafs(&["status", "--json"]).stdout;
    assert_eq!(String::from_utf8_lossy(&json), "{\"latest\":null,\"running\":[]}\n");
    assert_eq!(host.everything(), seen);
    assert!(!host.path("state").exists());
}

#[test]
fn a_changed_host_key_is_not_recorded_even_when_told_yes() {
    let (host, sshd) = (Host::new(), Sshd::start(""));
    let at = format!("127.0.0.1:{}", sshd.port());
    let known = host.path("known_hosts");
    let own = fs::read_to_string(host.path("medusafs.ini")).unwrap();
    host.write("medusafs.ini", &format!("{own}known_hosts = {}\n", known.display()));
    let trust = || host.medusafs(&["trust", &at, "--yes"]);
    assert_eq!(trust().status.code(), Some(0));
    let right = fs::read_to_string(&known).unwrap();
    assert_eq!(trust().status.code(), Some(0), "it is known already");
    assert_eq!(fs::read_to_string(&known).unwrap(), right);
    // Another key of the same type in its place.
    host.key("other", 0o600, "");
    let other = fs::read_to_string(host.path("other.pub")).unwrap();
    let wrong = format!("[127.0.0.1]:{} {other}", sshd.port());
    fs::write(&known, &wrong).unwrap();
    let output = trust();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("has changed") && said.contains("known_hosts:1"), "{said}");
    assert_eq!(fs::read_to_string(&known).unwrap(), wrong);
}

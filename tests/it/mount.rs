//! Real mounts, looked at with real tools. Needs root and /dev/fuse.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use medusafs::fuse::FuseError;
use medusafs::model::JobState;
use test_case::test_case;

use crate::support::host::in_namespace;
use crate::support::mounted::{
    Mounted, can_mount, mounted, run, serving, shell, start, try_shell, until,
};
use crate::support::tree::{EMPTY, Made, ORDERS, job};

const PROGRAM: &str = env!("CARGO_BIN_EXE_medusafs");

#[test_case(true; "through the kernel")]
#[test_case(false; "through us")]
fn tools_see_what_the_store_holds(passthrough: bool) {
    if !can_mount() {
        return;
    }
    let made = Made::usual();
    let tree = Mounted::usual(&made, passthrough);
    let (root, store) = (tree.root(), made.root().display());
    let table = format!("$T/backups/new/n1/shop/{ORDERS}");
    shell(&root, &format!("diff -r {table} {store}/n1/data/shop/{ORDERS}"));
    shell(&root, "diff -r $T/nodes/n1/new/shop $T/backups/new/n1/shop");
    let out = tempfile::tempdir().unwrap();
    let out = out.path().display();
    shell(
        &root,
        &format!("cp -r $T/backups/new/n2 {out}/cp && diff -r $T/backups/new/n2 {out}/cp"),
    );
    shell(
        &root,
        &format!(
            "mkdir {out}/tar && tar -C $T/backups/whole -cf - . | tar -C {out}/tar -xf - && diff -r $T/backups/whole {out}/tar"
        ),
    );
    let rsync = format!("rsync -a --itemize-changes $T/backups/new/ {out}/rsync/");
    shell(&root, &rsync);
    assert_eq!(shell(&root, &rsync), "", "a second rsync has nothing to do");
    // 2 nodes, each 4 meta, 1 + 2 directories, 9 + 1 files and the index's directory.
    let found = shell(&root, "find $T/backups/new | wc -l");
    assert_eq!(found.trim().parse::<usize>().unwrap(), 1 + 2 * (1 + 4 + 1 + 2 + 9 + 1 + 1));
    assert_eq!(shell(&root, "find $T -name .medusa"), "");
    assert_eq!(shell(&root, &format!("ls $T/backups/new/n1/shop/{EMPTY}")), "");
    assert_eq!(shell(&root, "readlink $T/backups/latest"), "new\n");
    shell(&root, "ls -laR $T > /dev/null");
    assert_eq!(shell(&root, "cd $T/backups && echo n*/n1"), "new/n1\n", "a shell completes names");
    let once = shell(&root, "du -s --block-size=1 $T/backups/new | cut -f1");
    let both =
        shell(&root, "du -cs --block-size=1 $T/backups/new $T/backups/old | tail -1 | cut -f1");
    let (once, both): (u64, u64) = (once.trim().parse().unwrap(), both.trim().parse().unwrap());
    assert!(both < 2 * once, "shared files count once: {once} {both}");
}

#[test]
fn the_list_of_mounts_shows_our_type_and_the_source_as_it_was_given() {
    if !can_mount() {
        return;
    }
    let made = Made::usual();
    let tree = Mounted::usual(&made, true);
    let seen = mounted(&tree.root()).unwrap();
    assert_eq!(seen, ("fuse.medusafs".to_owned(), "/nfs/store,ro".to_owned()));
    let device = fs::metadata(tree.root()).unwrap().dev();
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let ahead = format!("/sys/class/bdi/{major}:{minor}/read_ahead_kb");
    assert_eq!(fs::read_to_string(ahead).unwrap().trim(), "1024");
}

#[test]
fn what_is_refused_is_refused_at_once_and_explained() {
    if !can_mount() {
        return;
    }
    let made = Made::usual();
    let tree = Mounted::usual(&made, true);
    let root = tree.root();
    let out = tempfile::tempdir().unwrap();
    let taken = format!("mv $T/backups/new {}", out.path().display());
    for (line, says) in [
        ("mkdir '$T/backups/a b'", "Invalid argument"),
        ("mkdir $T/backups/new", "File exists"),
        ("touch $T/backups/new/x", "Read-only file system"),
        ("rm $T/backups/new/n1/manifest.json", "Read-only file system"),
        ("echo x > $T/backups/new/n1/manifest.json", "Read-only file system"),
        ("mv $T/backups/new $T/backups/newer", "Operation not permitted"),
        // Between file systems `mv` copies, and then cannot remove.
        (&taken, "Read-only file system"),
        ("rmdir $T/backups/new", "Operation not permitted"),
        ("ln $T/README $T/backups/x", "Read-only file system"),
        ("chmod 777 $T/backups", "Read-only file system"),
        ("mkfifo $T/nodes/p", "Read-only file system"),
    ] {
        let line = line.replace("'$T/backups/a b'", "\"$T/backups/a b\"");
        let output = try_shell(&root, &format!("LC_ALL=C {line}"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(says), "{line}: {said}");
    }
    let told = shell(&root, "cat $T/.medusa/last_error");
    assert!(told.contains("EINVAL") && told.contains("mkdir /backups/a b"), "{told}");
    let copy = out.path().join("new");
    shell(&root, &format!("diff -r $T/backups/new {}", copy.display()));
}

#[test_case("cp -r $T/backups/new $T/backups/again"; "cp")]
#[test_case("cp -r $T/backups/new $T/nodes/n1/again"; "cp below a node")]
#[test_case("cp -r /etc/default $T/backups/again"; "cp from elsewhere")]
#[test_case("rsync -a $T/backups/new/ $T/backups/again/"; "rsync")]
#[test_case("mkdir -p $T/backups/again/b"; "mkdir p")]
#[test_case("mkdir -p $T/backups/again/n1"; "mkdir p of a node")]
#[test_case("tar -C $T/backups -cf - --transform s/new/again/ new | tar -C $T/backups -xf -"; "tar")]
fn a_copy_into_backups_is_no_backup(line: &str) {
    if !can_mount() {
        return;
    }
    let made = Made::usual();
    let tree = Mounted::usual(&made, true);
    let copied = try_shell(&tree.root(), line);
    assert!(!copied.status.success());
    assert_eq!(tree.eyes.jobs.orders.lock().len(), 1);
    assert_eq!(tree.eyes.jobs.cancelled.lock().len(), 1);
    assert_eq!(shell(&tree.root(), "ls $T/backups"), "latest\nnew\nold\nwhole\n");
}

#[test]
fn a_backup_is_made_waited_for_and_its_end_seen() {
    if !can_mount() {
        return;
    }
    let made = Made::usual();
    let tree = Mounted::usual(&made, true);
    let root = tree.root();
    shell(&root, "mkdir $T/backups/tonight && ls -d $T/backups/tonight");
    assert_eq!(shell(&root, "cat $T/backups/tonight/.medusa/state"), "pending\n");
    tree.eyes.jobs.show(vec![job("tonight", JobState::Running)]);
    let mut cat = spawn("cat", &[&format!("{}/backups/tonight/.medusa/wait", root.display())]);
    let mut first = [0; 9];
    cat.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    let mut ended = job("tonight", JobState::Failed);
    ended.error = "n1 is down".to_owned();
    tree.eyes.jobs.show(vec![ended]);
    let output = cat.wait_with_output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("Input/output error"));
    let waited = run(PROGRAM, &["wait", &format!("{}/backups/tonight", root.display())]);
    assert_eq!(waited.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&waited.stderr).contains("n1 is down"));
    let waited = run(PROGRAM, &["wait", &format!("{}/backups/new", root.display())]);
    assert_eq!(waited.status.code(), Some(0));
}

#[test]
fn wait_is_read_by_programs_that_read_byte_after_byte() {
    if !can_mount() {
        return;
    }
    let made = Made::usual();
    let tree = Mounted::usual(&made, true);
    let wait = "$T/backups/new/.medusa/wait";
    let whole = shell(&tree.root(), &format!("cat {wait}"));
    assert!(whole.contains("complete"), "{whole}");
    for line in [
        format!("sh -c 'while read -r line; do echo \"$line\"; done' < {wait}"),
        format!("dash -c 'while read -r line; do echo \"$line\"; done' < {wait}"),
        format!("dd bs=1 status=none if={wait}"),
        format!("dd bs=16 status=none if={wait}"),
    ] {
        assert_eq!(shell(&tree.root(), &line), whole, "{line}");
    }
}

#[test]
fn whoever_waits_can_be_killed() {
    if !can_mount() {
        return;
    }
    let made = Made::usual();
    let tree = Mounted::usual(&made, true);
    tree.eyes.jobs.show(vec![job("tonight", JobState::Running)]);
    let path = format!("{}/backups/tonight/.medusa/wait", tree.root().display());
    let mut cat = spawn("cat", &[&path]);
    let mut first = [0; 9];
    cat.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    let begun = Instant::now();
    run("kill", &["-TERM", &cat.id().to_string()]);
    cat.wait().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn a_new_backup_shows_without_remounting_and_in_no_time() {
    if !can_mount() {
        return;
    }
    let made = Made::usual();
    let tree = Mounted::usual(&made, true);
    let root = tree.root();
    assert_eq!(shell(&root, "ls $T/backups"), "latest\nnew\nold\nwhole\n");
    made.backup("fresh", 1_795_200_000, true, 2);
    until("it is listed", || shell(&root, "ls $T/backups").contains("fresh"));
    until("latest leads to it", || shell(&root, "readlink $T/backups/latest") == "fresh\n");
    shell(&root, "diff -r $T/backups/fresh $T/backups/fresh && cat $T/backups/fresh/n1/schema.cql");
    // Another one of the same name, in its place, with other files.
    fs::remove_dir_all(made.root().join("index/backup_index/fresh")).unwrap();
    for node in ["n1", "n2"] {
        fs::remove_dir_all(made.root().join(format!("{node}/fresh"))).unwrap();
    }
    until("it is gone", || !shell(&root, "ls $T/backups").contains("fresh"));
    made.backup("fresh", 1_795_300_000, true, 5);
    until("all of it shows", || {
        let files = try_shell(&root, &format!("ls $T/backups/fresh/n1/shop/{ORDERS} | wc -l"));
        String::from_utf8_lossy(&files.stdout).trim() == "5"
    });
}

#[test]
fn what_the_share_did_not_say_the_kernel_does_not_believe_for_long() {
    if !can_mount() {
        return;
    }
    let made = Made::usual();
    let tree = Mounted::usual(&made, true);
    let root = tree.root();
    let stored = made.root().join(format!("n1/whole/data/shop/{ORDERS}/nb-2-big-Data.db"));
    let away = made.root().join("away");
    fs::rename(&stored, &away).unwrap();
    let table = format!("$T/backups/whole/n1/shop/{ORDERS}");
    shell(&root, &format!("ls -l {table}"));
    fs::rename(&away, &stored).unwrap();
    let its_own = format!("{}\n", fs::metadata(&stored).unwrap().mtime());
    let shown = || shell(&root, &format!("stat -c %Y {table}/nb-2-big-Data.db"));
    until("its own time shows", || shown() == its_own);
}

#[test]
fn modes_are_the_kernel_s_to_check() {
    if !can_mount() {
        return;
    }
    let made = Made::usual();
    let tree = Mounted::usual(&made, true);
    let nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups";
    let root = tree.root();
    shell(&root, &format!("{nobody} cat $T/README $T/status $T/.medusa/version > /dev/null"));
    for path in ["backups", "nodes/n1", "backups/new/n1/manifest.json", "restore"] {
        let looked = try_shell(&root, &format!("LC_ALL=C {nobody} ls $T/{path}"));
        let said = String::from_utf8_lossy(&looked.stderr).into_owned();
        assert!(said.contains("Permission denied"), "{path}: {said}");
    }
}

#[test]
fn an_ordinary_user_s_mount_is_his_alone() {
    if !can_mount() {
        return;
    }
    let made = Made::usual();
    let output = in_namespace(&format!(
        "set -eu; export LC_ALL=C; mount -t tmpfs ours /mnt; chmod 755 /mnt
        mknod -m 666 /mnt/fuse c 10 229; mount --bind /mnt/fuse /dev/fuse
        install {PROGRAM} /mnt/medusafs; cp -r {store} /mnt/store; mkdir /mnt/tree /mnt/state
        chown -R 65534:65534 /mnt/store /mnt/tree /mnt/state; chmod -R u+rwX /mnt/store
        by() {{ setpriv --reuid=$1 --regid=$1 --clear-groups $2; }}
        trap 'by 65534 \"/mnt/medusafs unmount /mnt/tree\"' EXIT
        by 65534 '/mnt/medusafs mount --store /mnt/store -o state_dir=/mnt/state /mnt/tree'
        by 65534 'diff -r /mnt/tree/nodes/n1/new/shop /mnt/tree/backups/new/n1/shop'
        by 65534 'cmp /mnt/tree/backups/new/n1/manifest.json /mnt/store/n1/new/meta/manifest.json'
        by 65534 'stat -c %u:%g /mnt/tree/backups/new'
        by 65534 'mkdir /mnt/tree/backups/his' 2>&1 || true
        by 65534 'tail -1 /mnt/tree/.medusa/last_error'
        ls /mnt/tree 2>&1 || by 65533 'ls /mnt/tree' 2>&1 || true",
        store = made.root().display()
    ));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said} {}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(lines[0], "65534:65534");
    assert!(lines[1].contains("Read-only file system"), "{said}");
    assert!(lines[2].contains("mkdir /backups/his: EROFS: no cluster"), "{said}");
    let denied = lines[3..].iter().filter(|line| line.contains("Permission denied")).count();
    assert_eq!((denied, lines.len()), (2, 5), "root and others stay out: {said}");
}

#[test]
fn a_mountpoint_that_cannot_be_is_refused_in_a_sentence() {
    if !can_mount() {
        return;
    }
    let made = Made::usual();
    let tree = Mounted::usual(&made, true);
    let again = start(&tree.eyes, &tree.runtime, &tree.root(), true).unwrap_err();
    assert!(matches!(again, FuseError::InUse { .. }), "{again}");
    assert!(again.to_string().contains("fuse.medusafs from \"/nfs/store,ro\""), "{again}");
    let file = made.root().join("file");
    fs::write(&file, "").unwrap();
    let no_directory = start(&tree.eyes, &tree.runtime, &file, true).unwrap_err();
    assert!(matches!(no_directory, FuseError::NotADirectory(_)), "{no_directory}");
    let store = start(&tree.eyes, &tree.runtime, made.root(), true).unwrap_err();
    assert!(matches!(store, FuseError::NotEmpty { .. }), "{store}");
    assert!(medusafs::fuse::unmount(made.root()).is_err(), "nothing of ours is there");
    shell(&tree.root(), "ls $T");
}

#[test]
fn what_somebody_else_mounts_in_our_place_stays() {
    if !can_mount() {
        return;
    }
    let made = Made::usual();
    let tree = Mounted::usual(&made, true);
    let root = tree.root();
    shell(&root, "umount $T && mount -t tmpfs theirs $T");
    tree.mount.as_ref().unwrap().take_away().unwrap();
    let theirs = mounted(&root);
    shell(&root, "umount $T");
    assert_eq!(theirs, Some(("tmpfs".to_owned(), "theirs".to_owned())));
}

#[test]
fn a_busy_tree_goes_at_once_and_serves_what_is_open_to_its_end() {
    if !can_mount() {
        return;
    }
    let made = Made::usual();
    let tree = Mounted::usual(&made, false);
    let root = tree.root();
    let path = root.join(format!("backups/new/n1/shop/{ORDERS}/nb-7-big-Data.db"));
    let mut file = fs::File::open(&path).unwrap();
    let busy = medusafs::fuse::unmount(&root).unwrap_err();
    assert!(matches!(busy, FuseError::Busy(_)), "{busy}");
    tree.mount.as_ref().unwrap().take_away().unwrap();
    assert_eq!(mounted(&root), None);
    let mut text = String::new();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, crate::support::tree::content("n1", 7));
}

#[test]
fn the_program_mounts_in_the_background_and_a_killed_one_is_replaced() {
    if !can_mount() {
        return;
    }
    let made = Made::usual();
    let (place, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // Root need not make it: it is made so that nobody writes into it while nothing is mounted.
    let tree = place.path().join("tree");
    let state = format!("state_dir={}", state.path().display());
    let store = made.root().to_str().unwrap();
    let mount = ["mount", "--store", store, "-o", &state, tree.to_str().unwrap()];
    let first = run(PROGRAM, &mount);
    assert_eq!(first.status.code(), Some(0), "{}", String::from_utf8_lossy(&first.stderr));
    assert_eq!(shell(&tree, "ls $T/backups"), "latest\nnew\nold\nwhole\n");
    assert_eq!(mounted(&tree).unwrap(), ("fuse.medusafs".to_owned(), store.to_owned()));
    let again = run(PROGRAM, &mount);
    assert_eq!(again.status.code(), Some(4), "{}", String::from_utf8_lossy(&again.stderr));

    let server = serving(&tree);
    run("kill", &["-KILL", &server.to_string()]);
    until("the mount is dead", || !try_shell(&tree, "ls $T").status.success());
    assert!(mounted(&tree).is_some(), "no empty directory for an `rsync --delete`");
    let third = run(PROGRAM, &mount);
    assert_eq!(third.status.code(), Some(0), "{}", String::from_utf8_lossy(&third.stderr));
    shell(&tree, "cat $T/backups/new/n1/manifest.json");

    let server = serving(&tree);
    run("kill", &["-TERM", &server.to_string()]);
    until("it is unmounted", || mounted(&tree).is_none());
    assert_eq!(fs::metadata(&tree).unwrap().mode() & 0o777, 0o555);
    shell(&tree, "chattr -i $T 2>/dev/null || true");

    let nowhere = run(PROGRAM, &["mount", "--store", "/nowhere", tree.to_str().unwrap()]);
    assert_eq!(nowhere.status.code(), Some(3), "{}", String::from_utf8_lossy(&nowhere.stderr));
}

#[test]
fn a_hostile_store_neither_leads_outside_nor_stops_the_mount() {
    if !can_mount() {
        return;
    }
    let made = Made::usual();
    let climbs = r#"[{"keyspace": "k", "columnfamily": "t", "objects": [{"path": "n1/../../../../etc/passwd", "MD5": null, "size": 9}, {"path": "n1/evil/data/k/t/link", "MD5": null, "size": 9}]}]"#;
    made.publish("evil", "n1", 1_795_300_000, true, climbs);
    fs::create_dir_all(made.root().join("n1/evil/data/k/t")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", made.root().join("n1/evil/data/k/t/link")).unwrap();
    made.publish("broken", "n1", 1_795_310_000, true, "[[[[[");
    let tree = Mounted::usual(&made, true);
    let root = tree.root();
    let read = try_shell(&root, "cat $T/backups/evil/n1/k/t/* ; ls -laR $T/backups/broken; true");
    assert!(!String::from_utf8_lossy(&read.stdout).contains("root:"));
    shell(&root, "diff -r $T/backups/new $T/backups/new");
    assert_ne!(shell(&root, "cat $T/backups/evil/.medusa/state"), "complete\n");
}

#[expect(
    clippy::disallowed_methods,
    reason = "a tool of the system, not of the program under test"
)]
fn spawn(program: &str, arguments: &[&str]) -> std::process::Child {
    let mut command = Command::new(program);
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn two_mounts_of_one_store_give_the_same_numbers() {
    if !can_mount() {
        return;
    }
    let made = Made::usual();
    let numbers = || {
        let tree = Mounted::usual(&made, true);
        shell(&tree.root(), "cd $T && find backups nodes -printf '%i %p\n' | sort")
    };
    let first = numbers();
    assert_eq!(first, numbers());
    assert!(first.lines().count() > 50);
}

//! Copying into `restore/` of a real mount, with the tools that people have.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use medusafs::catalog::{Catalog, CatalogSettings};
use medusafs::fs::copy_in::{Copies, CopyParts, RestoreWork, Share};
use medusafs::fs::{BackupBy, CopyIn, Doing, FsParts, FsSettings, LookingOnly, MedusaFs};
use medusafs::fuse::{Mount, MountSettings};
use medusafs::medusa::Layout;
use medusafs::model::{JobState, SystemClock};
use medusafs::store::{BlockingPool, PoolLimits, Store};
use medusafs::tasks::{Scope, Upkeep};
use medusafs::view::Rights;
use tempfile::TempDir;
use test_case::test_case;
use tokio::runtime::Runtime;

use super::support::archive::{learn, unpacked};
use super::support::copy_desk::{Restores, Told};

const NODE: &str = "node1.example.com";
const BACKUP: &str = "diff2";

/// A store of real Medusa, mounted, whose restores only write down what they are asked.
struct Tree {
    restores: Arc<Restores>,
    at: PathBuf,
    mount: Option<Mount>,
    runtime: Option<Runtime>,
    _store: TempDir,
    _place: TempDir,
    _state: TempDir,
}

impl Tree {
    fn mount() -> Self {
        Self::of(unpacked("whole"))
    }

    fn of(store: TempDir) -> Self {
        let (place, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.unwrap();
        let opened = Store::open(store.path()).unwrap();
        let layout = Layout::new(None).unwrap();
        let catalog = Catalog::new(opened, layout, CatalogSettings::default());
        learn(&catalog);
        let (pool, deadline) = (BlockingPool::new(PoolLimits::default()), Duration::from_secs(20));
        let restores = Restores::new();
        let _inside = runtime.enter();
        let copies = Copies::open(CopyParts {
            stored: Arc::new(Share::new(catalog.clone(), pool.clone(), deadline)),
            work: Arc::clone(&restores) as Arc<dyn RestoreWork>,
            clock: Arc::new(SystemClock),
            scope: Scope::new(),
            upkeep: Upkeep::default(),
            state_dir: state.path().to_owned(),
            mountpoint: place.path().to_owned(),
        });
        let rights = Rights {
            uid: 0,
            gid: 0,
            read_group: None,
            backup_group: None,
            restore_group: None,
            delete_group: None,
        };
        let fs = Arc::new(MedusaFs::new(FsParts {
            catalog,
            pool,
            doing: Arc::new(LookingOnly::new()) as Arc<dyn Doing>,
            copy_in: Arc::new(copies.unwrap()) as Arc<dyn CopyIn>,
            clock: Arc::new(SystemClock),
            upkeep: Upkeep::default(),
            settings: FsSettings {
                rights,
                backup: BackupBy::NoCluster,
                restores: true,
                state_dir: state.path().to_owned(),
                medusa_writes_too: true,
                deadline,
                config: String::new(),
            },
        }));
        drop(runtime.block_on(fs.refresh()));
        let settings = MountSettings {
            mountpoint: place.path().to_owned(),
            source: "copies".into(),
            passthrough: true,
            read_only: false,
        };
        let mount = Mount::start(&fs, &settings, runtime.handle()).unwrap();
        Self {
            restores,
            at: place.path().to_owned(),
            mount: Some(mount),
            runtime: Some(runtime),
            _store: store,
            _place: place,
            _state: state,
        }
    }

    /// Runs a shell line in the mount, with `$SRC` the snapshot and `$DST` its node's place.
    #[expect(clippy::disallowed_methods, reason = "a person's shell is no child of the program")]
    fn sh(&self, line: &str) -> Output {
        let mut shell = Command::new("timeout");
        shell.args(["60", "bash", "-c", &format!("set -o pipefail; {line}")]);
        shell.current_dir(&self.at).env("LC_ALL", "C");
        shell.env("SRC", format!("backups/{BACKUP}/{NODE}")).env("DST", format!("restore/{NODE}"));
        shell.output().unwrap()
    }

    fn succeeds(&self, line: &str) -> String {
        let output = self.sh(line);
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn fails(&self, line: &str) -> String {
        let output = self.sh(line);
        assert_eq!(output.status.code(), Some(1), "{line}: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    fn state(&self) -> String {
        self.succeeds("cat $DST/.medusa/state").trim().to_owned()
    }

    fn begun(&self) -> usize {
        let told = self.restores.told.borrow();
        told.iter().filter(|told| matches!(told, Told::Begin(_))).count()
    }

    /// Waits until so many restores were begun.
    fn until_begun(&self, times: usize) {
        let mut told = self.restores.told.subscribe();
        let enough = told.wait_for(|told| {
            told.iter().filter(|told| matches!(told, Told::Begin(_))).count() >= times
        });
        let waited = self.runtime.as_ref().unwrap().block_on(async {
            tokio::time::timeout(Duration::from_secs(20), enough).await.is_ok()
        });
        assert!(waited, "no restore, but {} and:\n{}", self.state(), self.errors());
    }

    fn errors(&self) -> String {
        self.succeeds("cat $DST/.medusa/{error,missing} .medusa/last_error")
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let (mount, runtime) = (self.mount.take().unwrap(), self.runtime.take().unwrap());
        mount.take_away().unwrap();
        runtime.block_on(mount.close());
        runtime.shutdown_background();
    }
}

/// Of every SSTable of the pool, the components that Cassandra writes anew are others now: longer,
/// shorter, and as long as before.
fn written_over(store: TempDir) -> TempDir {
    let mut todo = vec![store.path().join(NODE).join("data")];
    while let Some(at) = todo.pop() {
        for path in std::fs::read_dir(at).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.to_str().unwrap();
            if path.is_dir() {
                todo.push(path);
            } else if name.ends_with("-Statistics.db") {
                std::fs::write(&path, "written anew: ".repeat(1000)).unwrap();
            } else if name.ends_with("-Summary.db") {
                std::fs::write(&path, "s").unwrap();
            } else if name.ends_with("-TOC.txt") {
                let bytes = std::fs::read(&path).unwrap();
                std::fs::write(&path, vec![b'x'; bytes.len()]).unwrap();
            }
        }
    }
    store
}

#[test_case("cp -r $SRC restore/"; "cp r")]
#[test_case("cp -rl $SRC restore/"; "cp with links")]
#[test_case("cp -r --sparse=always $SRC restore/"; "cp with holes")]
#[test_case("rsync -a $SRC restore/"; "rsync a")]
#[test_case("rsync -a --inplace -W $SRC/ $DST/"; "rsync in place")]
#[test_case("tar -C $SRC -cf - . | tar -C $DST -xf -"; "tar")]
#[test_case("busybox cp -r $SRC restore/"; "busybox")]
fn a_backup_whose_statistics_were_written_over_is_copied_by_every_tool(line: &str) {
    let tree = Tree::of(written_over(unpacked("whole")));
    assert!(tree.succeeds("ls -lR $SRC").contains(" 14000 "));
    tree.succeeds(line);
    tree.until_begun(1);
    tree.succeeds("diff -r $SRC $DST && rsync -a $SRC restore/");
    assert_eq!(tree.succeeds("readlink backups/latest").trim(), BACKUP);
}

#[test_case("cp -r $SRC restore/"; "cp r")]
#[test_case("cp -r $SRC/. $DST/"; "cp r of what is inside")]
#[test_case("cp -r $SRC/* $DST/"; "cp r by a glob, data before the manifest")]
#[test_case("cp -a $SRC restore/"; "cp a")]
#[test_case("cp -a $SRC $DST/"; "cp a one directory down")]
#[test_case("cp -rl $SRC restore/"; "cp with links")]
#[test_case("cp -r --sparse=always $SRC restore/"; "cp with holes")]
#[test_case("cp -r --backup=numbered $SRC restore/"; "cp with backups")]
#[test_case("rsync -a $SRC restore/"; "rsync a")]
#[test_case("rsync -aXA $SRC/ $DST/"; "rsync with all attributes")]
#[test_case("rsync -a --inplace -W $SRC/ $DST/"; "rsync in place")]
#[test_case("rsync -a --delay-updates $SRC/ $DST/"; "rsync delayed")]
#[test_case("rsync -a --sparse $SRC/ $DST/"; "rsync with holes")]
#[test_case("rsync -a --fsync --partial-dir=.rsync-partial $SRC/ $DST/"; "rsync with a partial directory")]
#[test_case("tar -C $SRC -cf - . | tar -C $DST -xf -"; "tar")]
#[test_case("tar -C $SRC -cf - . | tar -C $DST -xSf - --no-same-owner"; "tar in pieces")]
#[test_case("(cd $SRC && find . -depth -print0 | cpio -0 -o 2>/dev/null) | (cd $DST && cpio -id 2>/dev/null)"; "cpio")]
#[test_case("python3 -c 'import os,shutil; shutil.copytree(os.environ[\"SRC\"], os.environ[\"DST\"], dirs_exist_ok=True)'"; "Python")]
#[test_case("cd $SRC && find . -type f -print0 | xargs -0 -I{} install -D {} ../../../$DST/{}"; "install")]
#[test_case("cd $SRC && find . -type f -print0 | while IFS= read -rd '' f; do mkdir -p ../../../$DST/${f%/*} && cat $f > ../../../$DST/$f || exit; done"; "cat")]
#[test_case("cd $SRC && find . -type f -print0 | while IFS= read -rd '' f; do mkdir -p ../../../$DST/${f%/*} && gio copy $f ../../../$DST/$f || exit; done"; "gio")]
#[test_case("cd $SRC && find . -type f -print0 | while IFS= read -rd '' f; do mkdir -p ../../../$DST/${f%/*} && dd if=$f of=../../../$DST/$f bs=777 status=none || exit; done"; "dd")]
#[test_case("busybox cp -r $SRC restore/"; "busybox")]
fn a_tool_s_copy_begins_a_restore_and_reads_back(line: &str) {
    let tree = Tree::mount();
    assert_eq!(tree.state(), "empty");
    tree.succeeds(line);
    tree.until_begun(1);
    let told = tree.restores.told.borrow().clone();
    let Told::Begin(order) = &told[0] else { unreachable!("{told:?}") };
    assert_eq!(order.target.as_str(), NODE);
    assert_eq!(order.source.backup.as_str(), BACKUP);
    let below = if line.contains("one directory down") { "*/" } else { "" };
    let inside = tree.succeeds("ls $DST");
    let copied = if inside.trim() == NODE { "$DST/$(basename $SRC)" } else { "$DST" };
    let copied = format!("{copied}{below}");
    let files = |of: &str| tree.succeeds(&format!("cd {of} && find . -type f | sort"));
    assert_eq!(files("$SRC"), files(&copied));
    // Whoever copies files only has no directory of an empty table, and that lacks nothing.
    let alike = if line.contains("-type f") { "diff -rN" } else { "diff -r" };
    tree.succeeds(&format!("{alike} $SRC {copied}"));
    let told = tree.restores.told.borrow().clone();
    let is_begun = |told: &&Told| matches!(told, Told::Begin(_) | Told::Cancel(_));
    assert_eq!(told.iter().filter(is_begun).count(), 1, "{told:?}");
}

#[test]
fn a_script_that_copies_and_waits_is_not_told_that_nothing_is_there() {
    for _ in 0..20 {
        let tree = Tree::mount();
        tree.succeeds("cp -r $SRC restore/");
        let state = tree.state();
        assert_eq!(state, "staging", "right after cp");
    }
}

#[test]
fn a_tool_that_is_killed_half_way_leaves_a_partial_set_that_the_next_copy_completes() {
    let tree = Tree::mount();
    let killed = "python3 -c '
import os, shutil, signal
copied = 0
def copy(src, dst):
    global copied
    copied += 1
    if copied == 9:
        with open(src, \"rb\") as a, open(dst, \"wb\") as b:
            b.write(a.read()[:3]); b.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    shutil.copyfile(src, dst)
shutil.copytree(os.environ[\"SRC\"], os.environ[\"DST\"], copy_function=copy, dirs_exist_ok=True)'";
    let output = tree.sh(killed);
    assert!(!output.status.success(), "{output:?}");
    assert_eq!(tree.state(), "partial");
    let missing = tree.succeeds("cat $DST/.medusa/missing | wc -l");
    let all = tree.succeeds("find $SRC -type f | wc -l");
    let number = |text: &str| text.trim().parse::<u32>().unwrap();
    assert_eq!(number(&missing), number(&all) - 8, "{}", tree.errors());
    let waited = tree.sh("cat $DST/.medusa/wait");
    assert!(!waited.status.success(), "{waited:?}");
    assert_eq!(tree.begun(), 0);
    tree.succeeds("rsync -a $SRC/ $DST/");
    tree.until_begun(1);
}

#[test]
fn a_stream_that_breaks_off_leaves_a_partial_set() {
    let tree = Tree::mount();
    let cut = "tar -C $SRC -cf - . | head -c 60000 | tar -C $DST -xf -";
    assert!(!tree.sh(cut).status.success());
    assert_eq!(tree.state(), "partial");
    tree.succeeds("cp -r $SRC restore/");
    tree.until_begun(1);
}

#[test_case("manifest.json"; "of the manifest")]
#[test_case("schema.cql"; "of the schema")]
#[test_case("$(cd $SRC && find . -name '*Data.db' -size +0 | head -1)"; "of data")]
fn one_changed_byte_fails_cp_and_begins_nothing(file: &str) {
    let tree = Tree::mount();
    let scratch = tempfile::tempdir().unwrap();
    let scratch = scratch.path().display();
    tree.succeeds(&format!(
        "cp -r $SRC/. {scratch} && chmod -R u+w {scratch} && f={scratch}/{file} && \
         printf '\\x5a\\xa5' | dd of=$f bs=1 seek=1 conv=notrunc status=none"
    ));
    let said = tree.fails(&format!("cp -r {scratch}/. $DST/"));
    assert!(said.contains("Input/output error"), "{said}");
    assert_eq!(tree.state(), "partial");
    let wrong = tree.succeeds("cat .medusa/last_error");
    assert!(wrong.contains("restore"), "{wrong}");
    let rsync = tree.sh(&format!("rsync -a --ignore-times {scratch}/ $DST/"));
    assert!(!rsync.status.success(), "{rsync:?}");
    assert_eq!(tree.begun(), 0);
    tree.succeeds("rsync -a --ignore-times $SRC/ $DST/");
    tree.until_begun(1);
}

#[test]
fn taking_everything_away_cancels_and_the_directory_stays() {
    let tree = Tree::mount();
    tree.succeeds("cp -r $SRC restore/");
    tree.until_begun(1);
    tree.succeeds("rm -r $DST/*");
    assert!(matches!(tree.restores.told.borrow().last(), Some(Told::Cancel(_))));
    tree.succeeds("cp -r $SRC restore/");
    tree.until_begun(2);
    tree.succeeds("rm -r $DST");
    assert_eq!(tree.state(), "cancelled");
    assert_eq!(tree.succeeds("ls $DST"), "");
    tree.succeeds("rmdir $DST");
    assert_eq!(tree.state(), "empty");
    tree.succeeds("cp -r $SRC restore/");
    tree.until_begun(3);
    tree.restores.moves_to(JobState::Stopping);
    let said = tree.fails("rm -r $DST");
    assert!(said.contains("busy"), "{said}");
    let said = tree.fails("cp -r $SRC restore/");
    assert!(said.contains("busy"), "{said}");
}

#[test]
fn when_a_restore_is_done_its_names_are_gone_for_every_tool() {
    let tree = Tree::mount();
    tree.succeeds("cp -r $SRC restore/ && ls -lR $DST");
    tree.until_begun(1);
    tree.restores.moves_to(JobState::Done);
    tree.succeeds("until [ -z \"$(ls $DST)\" ]; do :; done");
    tree.succeeds("! stat $DST/manifest.json");
    assert_eq!(tree.state(), "done");
    tree.succeeds("rsync -a $SRC/ $DST/");
    tree.until_begun(2);
}

#[test]
fn what_is_not_for_here_is_refused_with_an_error_and_a_word() {
    let tree = Tree::mount();
    for (line, word) in [
        ("cp -r backups/diff2 restore/", "cluster restore"),
        ("ln -s ../$SRC restore/other", "link"),
        ("ln -s ../../$SRC $DST/", "link"),
        ("cp /etc/passwd $DST/", "no file of a snapshot"),
        ("cp -r $SRC import/", "comes later"),
        ("mkdir restore/no-such-thing", "no node"),
        ("mv $SRC restore/", "keeps its name"),
    ] {
        tree.fails(line);
        let said = tree.succeeds("cat .medusa/last_error");
        assert!(said.contains(word), "{line}: {said}");
    }
    assert_eq!(tree.begun(), 0);
    // Nothing was lost by it.
    tree.succeeds("test -s $SRC/manifest.json");
}

#[test]
fn a_snapshot_from_nodes_goes_to_its_own_node() {
    let tree = Tree::mount();
    tree.succeeds("cp -r nodes/node2.example.com/diff1 restore/");
    tree.until_begun(1);
    let told = tree.restores.told.borrow().clone();
    let Told::Begin(order) = &told[0] else { unreachable!("{told:?}") };
    assert_eq!(
        (order.target.as_str(), order.source.backup.as_str()),
        ("node2.example.com", "diff1")
    );
}

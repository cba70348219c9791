//! Leases between processes, on one host and one path.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use medusafs::model::ObjectKey;
use medusafs::store::{LeaseError, LeaseName, Leases, Owner, Store};

const SHARE: &str = "MEDUSAFS_TEST_LEASE_SHARE";
const PROCESSES: u32 = 6;
const TURNS: usize = 40;

fn leases(share: &Path) -> Leases {
    Leases::new(Store::open(share).unwrap(), ObjectKey::parse(".medusafs/leases").unwrap())
}

fn owner() -> Owner {
    Owner { host: "host1".into(), pid: std::process::id(), job: None, purpose: "test".into() }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "this test is about processes")]
fn never_do_two_processes_hold_a_lease_at_once() {
    let share = tempfile::tempdir().unwrap();
    let me = std::env::current_exe().unwrap();
    let children: Vec<_> = (0..PROCESSES)
        .map(|_| {
            std::process::Command::new(&me)
                .args(["lease::a_contender", "--exact", "--ignored"])
                .env(SHARE, share.path())
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    let turns = fs::read_dir(share.path().join("turns")).unwrap().count();
    assert!(turns >= TURNS, "{turns} turns");
}

#[test]
#[ignore = "a part of never_do_two_processes_hold_a_lease_at_once"]
#[expect(clippy::disallowed_methods, reason = "how the test tells its processes where to meet")]
fn a_contender() {
    let Some(share) = std::env::var_os(SHARE) else { return };
    let share = Path::new(&share);
    let leases = leases(share);
    fs::create_dir_all(share.join("turns")).unwrap();
    let until = Instant::now() + Duration::from_mins(1);
    let mut number = 0;
    while fs::read_dir(share.join("turns")).unwrap().count() < TURNS {
        assert!(Instant::now() < until, "no progress");
        match leases.acquire(&LeaseName::Cluster, &owner(), |_| false) {
            Ok(lease) => {
                // Whoever is in here with another sees the other's mark.
                let mark =
                    fs::OpenOptions::new().write(true).create_new(true).open(share.join("inside"));
                assert!(mark.is_ok(), "two hold it");
                number += 1;
                fs::write(share.join(format!("turns/{}-{number}", std::process::id())), "")
                    .unwrap();
                assert!(lease.is_held());
                fs::remove_file(share.join("inside")).unwrap();
                lease.release().unwrap();
            }
            Err(LeaseError::Held(_)) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_lease_that_is_dropped_is_soon_free() {
    let share = tempfile::tempdir().unwrap();
    let leases = leases(share.path());
    drop(leases.acquire(&LeaseName::Cluster, &owner(), |_| false).unwrap());
    let until = Instant::now() + Duration::from_secs(20);
    while let Err(error) = leases.acquire(&LeaseName::Cluster, &owner(), |_| false) {
        assert!(matches!(error, LeaseError::Held(_)), "{error}");
        assert!(Instant::now() < until);
        std::thread::yield_now();
    }
}

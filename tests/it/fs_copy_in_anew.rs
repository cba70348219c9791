//! Copying what Medusa wrote over in its place since the backup was made.

use std::path::Path;

use medusafs::fs::CopyIn;
use test_case::test_case;

use super::support::copy_desk::{CopyDesk, ROOT, Restores, place, until};
use super::support::copy_tools::{Copy, Flaw, TOOLS, Tool};
use super::support::copying::{Shelf, snapshot};

/// A set of `diff1`, whose statistics Medusa wrote over since.
fn written_over(stored: &[u8], state: &Path) -> (CopyDesk, String) {
    let mut shelf = Shelf::default();
    shelf.backup("diff1", "node1", false, 1);
    shelf.backup("diff2", "node1", false, 2);
    let path = "shop/orders-1/nb-1-big-Statistics.db";
    let at = format!("node1/data/{path}");
    shelf.file(&snapshot("diff1", "node1"), path, &at, b"unrepaired", true);
    shelf.write_over(&at, stored);
    (CopyDesk::over(shelf, state, Restores::new()), path.to_owned())
}

#[test_case(b"repaired"; "shorter")]
#[test_case(b"repaired and resampled"; "longer")]
#[test_case(b"repairs it"; "of the same size")]
#[tokio::test]
async fn what_was_written_anew_is_copied_as_it_is_stored(stored: &[u8]) {
    for tool in TOOLS {
        let state = tempfile::tempdir().unwrap();
        let (desk, path) = written_over(stored, state.path());
        let of = snapshot("diff1", "node1");
        let errors = Copy::new(&desk, tool, &of).all().await;
        assert!(errors.is_empty(), "{tool:?}: {errors:?}");
        desk.until_begun(1).await;
        let id = desk.id(&place("node1"), &path).unwrap();
        let handle = desk.copies.open(ROOT, id, false).await.unwrap();
        assert_eq!(desk.copies.read(handle, 0, 100).await.unwrap(), stored, "{tool:?}");
        desk.copies.release(handle).await;
        assert_eq!(desk.copies.entry(id).unwrap().size, stored.len() as u64, "{tool:?}");
    }
}

#[test_case(b"repaired"; "shorter")]
#[test_case(b"repaired and resampled"; "longer")]
#[test_case(b"repairs it"; "of the same size")]
#[tokio::test]
async fn what_was_written_anew_is_refused_with_other_bytes_than_the_stored(stored: &[u8]) {
    for tool in TOOLS.into_iter().filter(|tool| *tool != Tool::CpLink) {
        let state = tempfile::tempdir().unwrap();
        let (desk, path) = written_over(stored, state.path());
        let mut copy = Copy::new(&desk, tool, &snapshot("diff1", "node1"));
        copy.flaw = Flaw { garbles: Some(&path) };
        let mut errors = copy.all().await;
        errors.retain(|(of, _)| *of == path);
        let is_refused = !errors.is_empty();
        until("a verdict", || is_refused || desk.state("node1") == "partial").await;
        assert_eq!(desk.begun(), [], "{tool:?}: {errors:?}");
    }
}

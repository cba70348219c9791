//! What is asked of the share, and what is not.

use std::fs;
use std::path::Path;

use crate::support::tree::{Eyes, ME, Made};

/// `ls -lR`: every name with its attributes, a line each.
async fn listed(eyes: &Eyes, directory: &str, into: &mut Vec<String>) {
    let ino = eyes.ino(directory).await;
    let opened = eyes.fs.opendir(ME, ino).await.unwrap();
    let mut below = Vec::new();
    eyes.fs
        .list_with_attributes(opened.handle, 0, &mut |_next, found, name| {
            let name = name.to_str().unwrap();
            if ![".", ".."].contains(&name) {
                let path = format!("{directory}/{name}");
                into.push(format!(
                    "{path} {} {} {:o}",
                    found.attr.size, found.attr.modified, found.attr.mode
                ));
                if found.attr.kind == medusafs::view::Kind::Directory {
                    below.push(path);
                }
            }
            false
        })
        .unwrap();
    eyes.fs.releasedir(opened.handle);
    for path in below {
        Box::pin(listed(eyes, &path, into)).await;
    }
}

#[tokio::test]
async fn a_warm_listing_asks_the_share_nothing() {
    let made = Made::usual();
    let eyes = Eyes::on(&made).await;
    let mut first = Vec::new();
    listed(&eyes, "backups", &mut first).await;
    assert!(first.len() > 50);
    for entry in fs::read_dir(made.root()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        }
    }
    let mut second = Vec::new();
    listed(&eyes, "backups", &mut second).await;
    assert_eq!(first, second);
}

#[tokio::test]
async fn looking_writes_nothing_to_the_store() {
    fn state(directory: &Path, into: &mut Vec<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let data = entry.metadata().unwrap();
            into.push(format!("{:?} {:?} {}", entry.path(), data.modified().unwrap(), data.len()));
            if data.is_dir() {
                state(&entry.path(), into);
            }
        }
        into.sort();
    }
    let made = Made::usual();
    let (mut before, mut after) = (Vec::new(), Vec::new());
    state(made.root(), &mut before);
    let eyes = Eyes::on(&made).await;
    listed(&eyes, "", &mut Vec::new()).await;
    eyes.look().await;
    eyes.text("backups/new/n1/manifest.json").await.unwrap();
    eyes.text("backups/new/.medusa/state").await.unwrap();
    state(made.root(), &mut after);
    assert_eq!(before, after);
}

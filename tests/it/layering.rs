//! The rules of the layout, as `src/ARCHITECTURE.md` has them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Floors by module, read off `src/lib.rs`: a blank line or a comment starts a new floor.
fn floors() -> BTreeMap<String, usize> {
    let (mut floor, mut open, mut found) = (0, false, BTreeMap::new());
    for line in fs::read_to_string("src/lib.rs").unwrap().lines() {
        if let Some(name) = line.strip_prefix("pub mod ").and_then(|rest| rest.strip_suffix(';')) {
            floor += usize::from(!open);
            open = true;
            found.insert(name.to_owned(), floor);
        } else {
            open = false;
        }
    }
    found
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// A file's text without its inline tests.
fn code(file: &Path) -> String {
    let text = fs::read_to_string(file).unwrap();
    text.split("#[cfg(test)]\nmod ").next().unwrap().to_owned()
}

fn modules() -> Vec<(String, Vec<PathBuf>)> {
    floors()
        .into_keys()
        .map(|module| {
            let files = rust_files(&Path::new("src").join(&module));
            (module, files)
        })
        .collect()
}

#[test]
fn every_folder_of_src_is_a_module_of_lib() {
    let floors = floors();
    let folders = fs::read_dir("src").unwrap().map(|entry| entry.unwrap().path());
    let unlisted: Vec<_> = folders
        .filter(|path| path.is_dir())
        .filter(|path| !floors.contains_key(path.file_name().unwrap().to_str().unwrap()))
        .collect();
    assert_eq!(unlisted, Vec::<PathBuf>::new());
}

#[test]
fn a_module_uses_only_floors_below_its_own() {
    let floors = floors();
    let mut wrong = Vec::new();
    for (module, files) in modules() {
        let floor = floors[&module];
        for file in files {
            for used in code(&file).split("crate::").skip(1) {
                let used = used.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap();
                if used != module && floors.get(used).is_none_or(|at| *at >= floor) {
                    wrong.push(format!("{}: {module} uses {used:?}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "these point up or sideways:\n{}", wrong.join("\n"));
}

#[test]
fn inside_a_folder_paths_are_short_and_say_what_they_take() {
    let mut wrong = Vec::new();
    for (module, files) in modules() {
        for file in files {
            let code = code(&file);
            for (pattern, why) in [
                ("super::super::", "climbs twice"),
                ("use crate::*", "takes everything"),
                (&format!("use crate::{module}::"), "names its own folder: write super::"),
            ] {
                if code.contains(pattern) {
                    wrong.push(format!("{}: {pattern} {why}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn an_outside_crate_is_named_in_its_own_folder_only() {
    let homes = [("fuser", "fuse"), ("russh", "ssh"), ("clap", "cli"), ("ini", "config")];
    let mut wrong = Vec::new();
    for (module, files) in modules() {
        for file in files {
            let code = code(&file);
            for (outside, home) in homes {
                let named = code.lines().any(|line| {
                    let line = line.trim_start();
                    let used = |before: &str| {
                        line.split(before).skip(1).any(|rest| rest.starts_with("::"))
                            && line.split(before).next().is_none_or(|start| {
                                !start.ends_with(|c: char| {
                                    c.is_alphanumeric() || c == '_' || c == ':'
                                })
                            })
                    };
                    !line.starts_with("//") && used(outside)
                });
                if named && module != home {
                    wrong.push(format!("{}: {outside} belongs to src/{home}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_file_holds_more_than_one_idea_can_fill() {
    let long: Vec<_> = ["src", "tests", "mount-helper"]
        .into_iter()
        .flat_map(|folder| rust_files(Path::new(folder)))
        .filter(|file| code(file).lines().count() > 500)
        .collect();
    assert_eq!(long, Vec::<PathBuf>::new(), "over 500 lines beside their tests");
}

#[test]
fn no_file_is_named_for_nothing() {
    let vague = ["util", "utils", "helpers", "common", "misc", "imp", "types", "manager"];
    let named: Vec<_> = modules()
        .into_iter()
        .flat_map(|(_, files)| files)
        .filter(|file| vague.contains(&file.file_stem().unwrap().to_str().unwrap()))
        .collect();
    assert_eq!(named, Vec::<PathBuf>::new());
}

#[test]
fn a_folder_s_front_holds_only_docs_modules_and_exports() {
    let mut wrong = Vec::new();
    for (_, files) in modules() {
        for file in files.iter().filter(|file| file.ends_with("mod.rs")) {
            let code = code(file);
            for definition in ["\nfn ", "\npub fn ", "\npub(crate) fn ", "\nimpl", "\npub struct "]
            {
                if code.contains(definition) {
                    wrong.push(format!("{}: {}", file.display(), definition.trim()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_test_file_is_forgotten() {
    let main = fs::read_to_string("tests/it/main.rs").unwrap();
    let forgotten: Vec<_> = rust_files(Path::new("tests/it"))
        .into_iter()
        .filter(|file| file.parent().unwrap() == Path::new("tests/it"))
        .filter(|file| {
            let module = file.file_stem().unwrap().to_str().unwrap();
            module != "main" && !main.contains(&format!("mod {module};"))
        })
        .collect();
    assert_eq!(forgotten, Vec::<PathBuf>::new());
}

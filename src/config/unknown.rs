//! Keys and sections that nobody knows, and what was probably meant.

use super::dialect::DEFAULT_SECTION;
use super::ini::IniFile;
use super::medusa_keys::{MEDUSA_KEYS, MEDUSA_SECTIONS};
use super::own_keys::{NODE_KEYS, OWN_KEYS, OWN_SECTION};
use super::resolver::Resolver;

/// Whether a section of `medusafs.ini` is about one node, and about which.
pub(super) fn node_of(section: &str) -> Option<&str> {
    let rest = section.strip_prefix("node")?;
    rest.starts_with(char::is_whitespace).then(|| rest.trim())
}

/// Looks for what Medusa does not know in its own file.
pub(super) fn look_through_medusa(resolver: &mut Resolver<'_>, file: &IniFile) {
    if file.normal.marked {
        resolver.warn(
            file.line(1),
            "the file begins with a byte order mark, at which Medusa stops; save it without",
        );
    }
    for (section, keys) in &file.sections {
        let line = file.line(file.normal.sections.get(section).copied().unwrap_or(1));
        if section == OWN_SECTION || node_of(section).is_some() {
            let what = "this section belongs into medusafs.ini beside this file: Medusa stops with a \
                        KeyError at it";
            resolver.problem(line, format!("[{section}]"), what);
            continue;
        }
        let known = MEDUSA_SECTIONS.contains(&section.as_str());
        if !known && section != DEFAULT_SECTION {
            let meant = meant(section, MEDUSA_SECTIONS.into_iter());
            let what = format!(
                "[{section}] is no section of Medusa's{meant}; Medusa stops with a KeyError at it, \
                 medusafs passes it over"
            );
            resolver.warn(line, what);
            continue;
        }
        for (name, entry) in keys {
            let of_section = || {
                MEDUSA_KEYS
                    .iter()
                    .filter(|key| !known || key.section == section)
                    .map(|key| key.name)
            };
            if !of_section().any(|key| key == name) {
                let elsewhere = MEDUSA_KEYS.iter().find(|key| key.name == name);
                let meant = elsewhere.map_or_else(
                    || meant(name, of_section()),
                    |key| format!(" (it belongs into [{}])", key.section),
                );
                let what = format!("{name} is no key of [{section}]{meant}; it is passed over");
                resolver.warn(file.line(entry.line), what);
            }
        }
    }
    look_at_swallowed(resolver, file, |name| MEDUSA_KEYS.iter().any(|key| key.name == name));
}

/// Looks for what medusafs does not know in its own file.
pub(super) fn look_through_own(resolver: &mut Resolver<'_>, file: &IniFile) {
    for (section, keys) in &file.sections {
        let line = file.line(file.normal.sections.get(section).copied().unwrap_or(1));
        let of_section = if section == OWN_SECTION {
            OWN_KEYS
        } else if node_of(section).is_some() {
            NODE_KEYS
        } else {
            let what = format!(
                "[{section}] is no section of medusafs.ini, which has [medusafs] and [node NAME]; it \
                 is passed over"
            );
            resolver.warn(line, what);
            continue;
        };
        for (name, entry) in keys {
            if !of_section.iter().any(|key| key.name == name) {
                let meant = meant(name, of_section.iter().map(|key| key.name));
                let what = format!("{name} is no key of [{section}]{meant}; it is passed over");
                resolver.warn(file.line(entry.line), what);
            }
        }
    }
    look_at_swallowed(resolver, file, |name| {
        OWN_KEYS.iter().chain(NODE_KEYS).any(|key| key.name == name)
    });
}

fn look_at_swallowed(resolver: &mut Resolver<'_>, file: &IniFile, known: impl Fn(&str) -> bool) {
    for (line, name, of) in &file.normal.swallowed {
        if known(name) {
            let what = format!(
                "this line is indented, so it goes on with the value of line {of}, in Medusa too; if \
                 {name} is meant as a key, begin it in the first column"
            );
            resolver.warn(file.line(*line), what);
        }
    }
}

/// ` (is X meant?)`, if one of the names is near.
pub(super) fn meant<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> String {
    let name = name.trim().to_lowercase();
    let near = names.map(|known| (distance(&name, known), known)).min();
    match near {
        Some((far, known)) if far <= 2 && far < known.len() => format!(" (is {known} meant?)"),
        _ => String::new(),
    }
}

/// How many letters must be put in, taken out or changed to make one of the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (above, letter) in one.chars().enumerate() {
        let mut next = vec![above + 1];
        for ((same, pair), left_of) in
            other.iter().map(|o| *o == letter).zip(row.windows(2)).zip(1..)
        {
            let (diagonal, up) = (pair.first().copied(), pair.last().copied());
            let left = next.get(left_of - 1).copied();
            let best =
                [diagonal.map(|d| d + usize::from(!same)), up.map(|u| u + 1), left.map(|l| l + 1)];
            next.push(best.into_iter().flatten().min().unwrap_or(0));
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    #[test_case("base_pth", " (is base_path meant?)"; "a letter lacks")]
    #[test_case("Base_Path", " (is base_path meant?)"; "case")]
    #[test_case("colour", ""; "nothing near")]
    fn what_was_probably_meant_is_said(name: &str, said: &str) {
        assert_eq!(meant(name, ["base_path", "bucket_name", "ssh"].into_iter()), said);
    }

    #[test]
    fn the_distance_of_two_words_counts_letters() {
        assert_eq!(
            (distance("kitten", "sitting"), distance("", "abc"), distance("a", "a")),
            (3, 3, 0)
        );
    }

    #[test]
    fn a_section_of_a_node_names_it() {
        assert_eq!(node_of("node db1.example.com"), Some("db1.example.com"));
        assert_eq!(node_of("node"), None);
        assert_eq!(node_of("nodes x"), None);
    }
}

//! Which text counts for a setting, what it became, and where it stands.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::model::ByteSize;

use super::ini::IniFile;
use super::key::{Key, Role};
use super::kind::{Kind, Value};
use super::medusa_keys::MEDUSA_KEYS;
use super::origin::Place;
use super::own::{Group, HostPort};
use super::{Problem, Secret, Warning};

/// A setting that has been settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    /// The text that counts, empty for a secret; none if nobody says and there is no default.
    pub(super) text: Option<String>,
    /// What it became; none if there is no text, an empty one that means unset, or a wrong one.
    pub(super) value: Option<Value>,
    /// Where the text stands.
    pub(super) place: Place,
}

/// Settles settings one by one, and keeps what is to be said about them.
#[derive(Debug)]
pub(super) struct Resolver<'a> {
    pub(super) environment: &'a BTreeMap<String, String>,
    pub(super) settled: BTreeMap<(String, String), Setting>,
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Warning>,
    /// The first setting that asks for what medusafs has not.
    pub(super) unsupported: Option<Problem>,
}

/// The variables of the environment that are set.
type Found = Option<(String, Place)>;

impl<'a> Resolver<'a> {
    pub(super) fn new(environment: &'a BTreeMap<String, String>) -> Self {
        Self {
            environment,
            settled: BTreeMap::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
            unsupported: None,
        }
    }

    /// Says that a setting is wrong.
    pub(super) fn problem(
        &mut self,
        place: Place,
        about: impl Into<String>,
        what: impl Into<String>,
    ) {
        self.problems.push(Problem { place, about: about.into(), what: what.into() });
    }

    /// Says something that stops nothing.
    pub(super) fn warn(&mut self, place: Place, what: impl Into<String>) {
        self.warnings.push(Warning { place, what: what.into() });
    }

    /// Settles a key of `medusa.ini`, in Medusa's order: the section, Medusa's default,
    /// `[DEFAULT]`, and the environment over all.
    pub(super) fn settle_medusa(&mut self, key: &'static Key, file: Option<&IniFile>) {
        let in_section = file.and_then(|file| {
            let entry = file.get(key.section, key.name)?;
            Some((entry.value.clone(), file.line(entry.line)))
        });
        let in_default = |file: Option<&IniFile>| {
            let file = file?;
            let entry = file.get_default(key.name)?;
            Some((entry.value.clone(), file.line(entry.line)))
        };
        let mut found = in_section.or_else(|| self.default_of(key)).or_else(|| in_default(file));
        for variable in key.variables {
            let Some(text) = self.environment.get(*variable) else { continue };
            let place = Place::Variable((*variable).to_owned());
            if !variable.starts_with("MEDUSA_") {
                self.warn(
                    place.clone(),
                    format!("this is the old name; set MEDUSA_{variable}, as Medusa asks for"),
                );
            }
            found = Some((text.clone(), place));
        }
        self.settle(key, key.section, found);
    }

    /// Settles a key of `medusafs.ini`, an option being stronger than the file.
    pub(super) fn settle_own(
        &mut self,
        key: &'static Key,
        section: &str,
        file: Option<&IniFile>,
        option: Option<(&str, &str)>,
    ) {
        let in_file = file.and_then(|file| {
            let entry = file.get(section, key.name)?;
            Some((entry.value.clone(), file.line(entry.line)))
        });
        let option = option.map(|(name, text)| (text.to_owned(), Place::Option(name.to_owned())));
        self.settle(key, section, option.or(in_file).or_else(|| self.default_of(key)));
    }

    /// Settles a key of `medusa.ini` with a text from elsewhere.
    pub(super) fn settle_text(&mut self, section: &str, name: &str, text: &str, place: Place) {
        let wished = |key: &&Key| key.section == section && key.name == name;
        match MEDUSA_KEYS.iter().find(wished) {
            Some(key) => self.settle(key, section, Some((text.to_owned(), place))),
            None => self.bug(section, name),
        }
    }

    fn default_of(&self, key: &Key) -> Found {
        let from_variable = key.default_variable.and_then(|variable| {
            let text = self.environment.get(variable)?;
            Some((text.clone(), Place::Variable(variable.to_owned())))
        });
        from_variable.or_else(|| key.default.map(|text| (text.to_owned(), Place::Default)))
    }

    fn settle(&mut self, key: &'static Key, section: &str, found: Found) {
        let at = (section.to_owned(), key.name.to_owned());
        let Some((text, place)) = found else {
            let setting = Setting { text: None, value: None, place: Place::Default };
            self.settled.insert(at, setting);
            return;
        };
        let mut value = None;
        if !(text.is_empty() && key.may_be_empty) {
            let home = self.environment.get("HOME").map(String::as_str);
            match key.kind.read(&text, home) {
                Ok(read) => {
                    self.judge(key, section, &text, &read, &place);
                    value = Some(read);
                }
                Err(what) => self.refuse(key, section, &text, &what, &place),
            }
        }
        // A secret is kept in its value alone, where `Debug` hides it.
        let shown = if key.kind == Kind::Secret { String::new() } else { text };
        self.settled.insert(at, Setting { text: Some(shown), value, place });
    }

    /// Looks at a text that can be read.
    fn judge(&mut self, key: &Key, section: &str, text: &str, read: &Value, place: &Place) {
        if let Role::Only(only, reason) = key.role {
            let home = None;
            let same = match key.kind {
                // Medusa compares a provider in lower case.
                Kind::Text => text.to_lowercase() == only,
                kind => kind.read(only, home).as_ref() == Ok(read),
            };
            if !same && self.unsupported.is_none() {
                let what = format!("{text:?} is not supported yet, only {only}: {reason}");
                let about = about(key, section);
                self.unsupported = Some(Problem { place: place.clone(), about, what });
            }
        }
        let commented = text.contains(" ;") || text.contains(" #");
        if commented
            && matches!(key.role, Role::Used | Role::Later(_))
            && matches!(place, Place::Line(..))
            && key.kind != Kind::Lines
        {
            self.warn(
                place.clone(),
                format!(
                    "{}: what looks like a comment at the end of the line belongs to the value, in \
                     Medusa too; a comment needs a line of its own",
                    about(key, section)
                ),
            );
        }
    }

    /// Says what is wrong with a text.
    fn refuse(&mut self, key: &Key, section: &str, text: &str, what: &str, place: &Place) {
        let hint = if text.contains(" ;") || text.contains(" #") {
            "; a comment needs a line of its own"
        } else {
            ""
        };
        let about = about(key, section);
        match key.role {
            Role::Ignored(reason) => {
                self.warn(place.clone(), format!("{about}: {what}{hint}; ignored: {reason}"));
            }
            Role::Used | Role::Later(_) | Role::Only(..) => {
                self.problem(place.clone(), about, format!("{what}{hint}"));
            }
        }
    }

    /// What was settled.
    pub(super) fn setting(&self, section: &str, name: &str) -> Option<&Setting> {
        self.settled.get(&(section.to_owned(), name.to_owned()))
    }

    /// Whether a setting has a value, not a wrong one nor none.
    pub(super) fn is_read(&self, section: &str, name: &str) -> bool {
        self.setting(section, name).is_some_and(|setting| setting.value.is_some())
    }

    /// Where a setting stands.
    pub(super) fn place(&self, section: &str, name: &str) -> Place {
        self.setting(section, name).map_or(Place::Default, |setting| setting.place.clone())
    }

    /// Takes a value that may be unset.
    fn take<T>(
        &mut self,
        section: &str,
        name: &str,
        as_wished: impl Fn(&Value) -> Option<T>,
    ) -> Option<T> {
        let value = self.setting(section, name)?.value.as_ref()?;
        let taken = as_wished(value);
        if taken.is_none() {
            self.bug(section, name);
        }
        taken
    }

    /// Takes a value that a default or an error stands for.
    fn must<T>(
        &mut self,
        section: &str,
        name: &str,
        otherwise: T,
        as_wished: impl Fn(&Value) -> Option<T>,
    ) -> T {
        let taken = self.take(section, name, as_wished);
        if taken.is_none() && self.problems.is_empty() {
            self.bug(section, name);
        }
        taken.unwrap_or(otherwise)
    }

    fn bug(&mut self, section: &str, name: &str) {
        let place = self.place(section, name);
        let what =
            "medusafs's table of settings is wrong about it, which is a bug; please report it";
        self.problem(place, format!("[{section}] {name}"), what);
    }

    pub(super) fn text(&mut self, section: &str, name: &str) -> Option<String> {
        self.take(section, name, |value| match value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        })
    }

    pub(super) fn secret(&mut self, section: &str, name: &str) -> Option<Secret> {
        self.take(section, name, |value| match value {
            Value::Secret(secret) => Some(secret.clone()),
            _ => None,
        })
    }

    pub(super) fn path(&mut self, section: &str, name: &str) -> Option<PathBuf> {
        self.take(section, name, |value| match value {
            Value::Path(path) => Some(path.clone()),
            _ => None,
        })
    }

    pub(super) fn number(&mut self, section: &str, name: &str) -> Option<u64> {
        self.take(section, name, |value| match value {
            Value::Number(number) => Some(*number),
            _ => None,
        })
    }

    pub(super) fn hosts(&mut self, section: &str, name: &str) -> Option<Vec<HostPort>> {
        self.take(section, name, |value| match value {
            Value::Hosts(hosts) => Some(hosts.clone()),
            _ => None,
        })
    }

    pub(super) fn group(&mut self, section: &str, name: &str) -> Option<Group> {
        self.take(section, name, |value| match value {
            Value::Group(group) => Some(group.clone()),
            _ => None,
        })
    }

    pub(super) fn flag(&mut self, section: &str, name: &str) -> bool {
        self.must(section, name, false, |value| match value {
            Value::Flag(flag) => Some(*flag),
            _ => None,
        })
    }

    pub(super) fn size(&mut self, section: &str, name: &str) -> ByteSize {
        self.must(section, name, ByteSize(0), |value| match value {
            Value::Size(size) => Some(*size),
            _ => None,
        })
    }

    pub(super) fn time(&mut self, section: &str, name: &str) -> Duration {
        self.must(section, name, Duration::ZERO, |value| match value {
            Value::Time(time) => Some(*time),
            _ => None,
        })
    }

    pub(super) fn words(&mut self, section: &str, name: &str) -> Vec<String> {
        self.must(section, name, Vec::new(), |value| match value {
            Value::Words(words) => Some(words.clone()),
            _ => None,
        })
    }

    pub(super) fn count(&mut self, section: &str, name: &str) -> u64 {
        self.must(section, name, 0, |value| match value {
            Value::Number(number) => Some(*number),
            _ => None,
        })
    }

    /// A count that fits in memory.
    pub(super) fn width(&mut self, section: &str, name: &str) -> usize {
        usize::try_from(self.count(section, name)).unwrap_or(usize::MAX)
    }

    pub(super) fn must_path(&mut self, section: &str, name: &str) -> PathBuf {
        self.must(section, name, PathBuf::new(), |value| match value {
            Value::Path(path) => Some(path.clone()),
            _ => None,
        })
    }

    pub(super) fn must_text(&mut self, section: &str, name: &str) -> String {
        self.must(section, name, String::new(), |value| match value {
            Value::Text(text) => Some(text.clone()),
            _ => None,
        })
    }

    /// One of an enum's words.
    pub(super) fn choice<T>(
        &mut self,
        section: &str,
        name: &str,
        otherwise: T,
        from_word: fn(&str) -> Option<T>,
    ) -> T {
        self.must(section, name, otherwise, |value| match value {
            Value::Text(word) => from_word(word),
            _ => None,
        })
    }
}

fn about(key: &Key, section: &str) -> String {
    format!("[{section}] {}", key.name)
}

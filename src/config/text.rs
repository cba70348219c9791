//! The settings as a person reads them: `/.medusa/config`, and what `check` says.

use super::key::{Key, Role};
use super::kind::Value;
use super::medusa_keys::MEDUSA_KEYS;
use super::origin::Place;
use super::own_keys::{NODE_KEYS, OWN_KEYS, OWN_SECTION};
use super::resolver::Setting;
use super::unknown::node_of;
use super::words::join_words;
use super::{Config, Warning};

impl Config {
    /// Every setting, a line for each: `[section] key = value`, and after `#` where it stands; `-`
    /// is unset. Passwords are `***`, also those within commands.
    pub fn config_text(&self) -> String {
        let mut lines: Vec<String> =
            self.files().iter().map(|file| format!("# {}\n", file.display())).collect();
        for key in MEDUSA_KEYS {
            lines.extend(self.line(key, key.section));
        }
        for key in OWN_KEYS {
            lines.extend(self.line(key, OWN_SECTION));
        }
        let mut sections: Vec<&str> =
            self.settled.keys().map(|(section, _)| section.as_str()).collect();
        sections.dedup();
        for section in sections.into_iter().filter(|section| node_of(section).is_some()) {
            for key in NODE_KEYS {
                lines.extend(self.line(key, section));
            }
        }
        lines.concat()
    }

    /// What Medusa's file sets and medusafs does nothing with, each with the reason; a setting that
    /// has Medusa's default is not told.
    pub fn ignored(&self) -> Vec<Warning> {
        let told = MEDUSA_KEYS.iter().chain(OWN_KEYS).filter_map(|key| {
            let (effect, reason) = match key.role {
                Role::Ignored(reason) => ("no effect", reason),
                Role::Later(reason) => ("no effect yet", reason),
                Role::Used | Role::Only(..) => return None,
            };
            let setting = self.setting(key, key.section)?;
            if setting.place == Place::Default || setting.text.as_deref() == key.default {
                return None;
            }
            let what = format!("[{}] {} has {effect}: {reason}", key.section, key.name);
            Some(Warning { place: setting.place.clone(), what })
        });
        told.collect()
    }

    fn setting(&self, key: &Key, section: &str) -> Option<&Setting> {
        self.settled.get(&(section.to_owned(), key.name.to_owned()))
    }

    fn line(&self, key: &Key, section: &str) -> Option<String> {
        let setting = self.setting(key, section)?;
        // A text that could not be read is not shown either: it may hold anything.
        let value = setting.value.as_ref().map_or_else(|| "-".to_owned(), without_passwords);
        let value = value.replace('\n', "\\n");
        let ignored = match key.role {
            Role::Ignored(reason) => format!("; ignored: {reason}"),
            Role::Later(reason) => format!("; no effect yet: {reason}"),
            Role::Used | Role::Only(..) => String::new(),
        };
        let line = format!("[{section}] {} = {value}", key.name);
        Some(format!("{line:<60} # {}{ignored}\n", setting.place))
    }
}

/// A value with what follows `-pw`, or stands behind `…password=`, made `***`.
fn without_passwords(value: &Value) -> String {
    let Value::Words(words) = value else { return value.show() };
    let quoted = |word: &str| join_words(&[word.to_owned()]);
    let mut hidden = Vec::with_capacity(words.len());
    let mut after_option = false;
    for word in words {
        let lower = word.to_lowercase();
        hidden.push(match word.split_once('=') {
            _ if after_option => "***".to_owned(),
            Some((name, _)) if lower.contains("pass") || lower.contains("secret") => {
                format!("{}=***", quoted(name))
            }
            _ => quoted(word),
        });
        after_option = lower == "-pw" || lower == "--password";
    }
    hidden.join(" ")
}

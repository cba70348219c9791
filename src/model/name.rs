//! Names that come from outside, each one directory name long.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NameError {
    /// Nothing at all.
    #[error("a name is not empty")]
    Empty,
    /// `.` or `..`.
    #[error("{0:?} names a directory itself, not something in it")]
    Dots(String),
    /// A slash or a NUL byte.
    #[error("{0:?} holds a '/' or a NUL byte")]
    Separator(String),
    /// Longer than a directory entry can be.
    #[error("a name has at most 255 bytes, this one has {0}")]
    TooLong(usize),
}

fn component(text: &str) -> Result<Arc<str>, NameError> {
    if text.is_empty() {
        Err(NameError::Empty)
    } else if text == "." || text == ".." {
        Err(NameError::Dots(text.to_owned()))
    } else if text.contains(['/', '\0']) {
        Err(NameError::Separator(text.to_owned()))
    } else if text.len() > 255 {
        Err(NameError::TooLong(text.len()))
    } else {
        Ok(Arc::from(text))
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes any text that can stand as one directory name.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                component(text).map(Self)
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name!(
    /// A backup's name, as it stands in the store. Medusa lets more pass than medusafs would make;
    /// a new one goes through [`BackupName::for_new`].
    BackupName
);
name!(
    /// What Medusa calls a node by: a host name or an address, its directory in the store.
    Fqdn
);
name!(
    /// A keyspace's directory name, case kept, without quotes.
    Keyspace
);
name!(
    /// A table's directory name: `NAME-ID`, ID being 32 hex digits (Cassandra 2.0 has none).
    TableDirectory
);

/// Words that Medusa's listing looks for anywhere in a path (`medusa/index.py`): a backup named so
/// crashes it, or is taken for another mode.
const WORDS_OF_THE_INDEX: [&str; 8] = [
    "tokenmap",
    "schema",
    "manifest",
    "differential",
    "incremental",
    "started",
    "finished",
    "meta",
];

/// Why a name cannot be given to a new backup.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NewBackupNameError {
    /// Not of the form that is safe in a shell, a URL and Medusa's own quoting.
    #[error(
        "{0:?} is no name for a backup: it starts with a letter or digit, goes on with letters, \
         digits, '_', '.', '-', and has at most 100 characters"
    )]
    Form(String),
    /// A directory of the store's layout, or of the tree.
    #[error("{0:?} is no name for a backup: the store or the tree uses it itself")]
    Reserved(String),
    /// A word that Medusa's index trips over.
    #[error("{name:?} is no name for a backup: Medusa's listing trips over the word {word:?}")]
    MedusaWord {
        /// The name asked for.
        name: String,
        /// The word in it.
        word: &'static str,
    },
    /// Medusa stores the files of such a backup one directory too deep.
    #[error(
        "{0:?} is no name for a backup: Medusa misplaces files of a name that ends in \"nodes\""
    )]
    EndsInNodes(String),
}

impl BackupName {
    /// Takes a name that a new backup may bear: `[A-Za-z0-9][A-Za-z0-9_.-]{0,99}`, none of the
    /// store's own directories (`data`, `index`, `latest`), and without the words that Medusa's
    /// listing trips over. Whether it is a node's name, or the beginning of another backup's, only
    /// the catalog knows.
    pub fn for_new(text: &str) -> Result<Self, NewBackupNameError> {
        let mut bytes = text.bytes();
        let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
        let rest = bytes.all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
        if !first || !rest || text.len() > 100 {
            return Err(NewBackupNameError::Form(text.to_owned()));
        }
        if matches!(text, "data" | "index" | "latest") {
            return Err(NewBackupNameError::Reserved(text.to_owned()));
        }
        if let Some(word) = WORDS_OF_THE_INDEX.into_iter().find(|word| text.contains(word)) {
            return Err(NewBackupNameError::MedusaWord { name: text.to_owned(), word });
        }
        if text.ends_with("nodes") {
            return Err(NewBackupNameError::EndsInNodes(text.to_owned()));
        }
        Ok(Self(Arc::from(text)))
    }
}

impl TableDirectory {
    /// The table's name, and its id of 32 hex digits if the directory has one.
    ///
    /// `system._paxos_repair_state` of Cassandra 4.1 and later is a directory without an id.
    pub fn split(&self) -> (&str, Option<&str>) {
        match self.0.rsplit_once('-') {
            Some((table, id)) if id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()) => {
                (table, Some(id))
            }
            _ => (&self.0, None),
        }
    }

    /// The table's name alone.
    pub fn table(&self) -> &str {
        self.split().0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    #[test_case("nightly-2026.11.22"; "dots and dashes")]
    #[test_case("202611221614"; "Medusa's own default")]
    #[test_case("A_1"; "underscore")]
    fn a_plain_name_may_be_given(name: &str) {
        assert_eq!(BackupName::for_new(name).unwrap().as_str(), name);
    }

    #[test_case(""; "empty")]
    #[test_case("-x"; "starts with a dash")]
    #[test_case(".x"; "hidden")]
    #[test_case("a b"; "blank")]
    #[test_case("a/b"; "slash")]
    #[test_case("Untitled Folder"; "file manager")]
    #[test_case("data"; "the pool's directory")]
    #[test_case("index"; "the index")]
    #[test_case("latest"; "the link")]
    #[test_case("finished_monday"; "crashes Medusa's listing")]
    #[test_case("metallica"; "holds meta")]
    #[test_case("all-nodes"; "ends in nodes")]
    fn a_name_that_hurts_later_is_refused(name: &str) {
        assert!(BackupName::for_new(name).is_err());
    }

    #[test]
    fn a_name_of_a_hundred_characters_is_the_longest() {
        assert!(BackupName::for_new(&"a".repeat(100)).is_ok());
        assert!(BackupName::for_new(&"a".repeat(101)).is_err());
    }

    #[test_case(""; "empty")]
    #[test_case(".."; "parent")]
    #[test_case("a/b"; "two components")]
    fn a_text_that_is_no_path_component_is_no_name(text: &str) {
        assert!(Fqdn::parse(text).is_err());
    }

    #[test]
    fn a_table_directory_splits_at_its_id_only() {
        let split = |text: &str| {
            let name = TableDirectory::parse(text).unwrap();
            let (table, id) = name.split();
            (table.to_owned(), id.map(str::to_owned))
        };
        let id = "1b255f4def2540a60000000000000005";
        assert_eq!(split(&format!("orders-{id}")), ("orders".into(), Some(id.into())));
        assert_eq!(split("_paxos_repair_state"), ("_paxos_repair_state".into(), None));
    }
}

//! Where an object lies, below the store's root.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// A relative path of one or more names parted by `/`, without `.`, `..`, empty names or NUL.
///
/// Keys come out of manifests that anybody may have written, so that one which would leave the
/// store cannot be made.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectKey(Arc<str>);

/// A path that is no key.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{path:?} is no path below the store: {why}")]
pub struct ObjectKeyError {
    /// The path as it was found.
    pub path: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl ObjectKey {
    /// Takes a relative path.
    pub fn parse(path: &str) -> Result<Self, ObjectKeyError> {
        let wrong = |why| Err(ObjectKeyError { path: path.to_owned(), why });
        if path.len() > 4000 {
            return wrong("longer than 4000 bytes");
        }
        if path.starts_with('/') {
            return wrong("it is absolute");
        }
        for name in path.split('/') {
            match name {
                "" => return wrong("it has an empty name"),
                "." | ".." => return wrong("it has a '.' or '..'"),
                _ if name.contains('\0') => return wrong("it has a NUL byte"),
                _ if name.len() > 255 => return wrong("it has a name of over 255 bytes"),
                _ => {}
            }
        }
        Ok(Self(Arc::from(path)))
    }

    /// This key and more names below it.
    pub fn join(&self, below: &str) -> Result<Self, ObjectKeyError> {
        Self::parse(&format!("{}/{below}", self.0))
    }

    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last name.
    pub fn file_name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    /// The key without its last name; none at the top.
    pub fn parent(&self) -> Option<Self> {
        self.0.rsplit_once('/').map(|(parent, _)| Self(Arc::from(parent)))
    }

    /// The names from the top.
    pub fn names(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('/')
    }

    /// What stands below `directory`, if this key does.
    pub fn below(&self, directory: &str) -> Option<&str> {
        self.0.strip_prefix(directory)?.strip_prefix('/')
    }
}

impl TryFrom<String> for ObjectKey {
    type Error = ObjectKeyError;

    fn try_from(path: String) -> Result<Self, ObjectKeyError> {
        Self::parse(&path)
    }
}

impl From<ObjectKey> for String {
    fn from(key: ObjectKey) -> Self {
        key.0.as_ref().to_owned()
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use test_case::test_case;

    #[test_case(""; "empty")]
    #[test_case("/etc/passwd"; "absolute")]
    #[test_case("a/../../etc"; "parent")]
    #[test_case("a/./b"; "itself")]
    #[test_case("a//b"; "empty name")]
    #[test_case("a/b/"; "trailing slash")]
    #[test_case("a/\0b"; "nul")]
    fn a_path_that_could_leave_the_store_is_no_key(path: &str) {
        assert!(ObjectKey::parse(path).is_err());
    }

    proptest! {
        #[test]
        fn whatever_parses_stays_below_the_root(path in ".{0,40}") {
            if let Ok(key) = ObjectKey::parse(&path) {
                let mut depth = 0_i32;
                for name in key.names() {
                    depth += if name == ".." { -1 } else { 1 };
                    prop_assert!(depth > 0);
                }
            }
        }
    }
}

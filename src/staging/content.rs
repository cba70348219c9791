//! What is known of a file's bytes.

use serde::{Deserialize, Serialize};

use crate::model::Md5;
use crate::model::ObjectKey;

use super::facts::{Facts, Found, Need};

/// What a file of a snapshot must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The stored object.
    pub key: ObjectKey,
    /// Its size in bytes, as the manifest has it.
    pub size: u64,
    /// The MD5 of its bytes, where one is recorded that can be trusted.
    pub md5: Option<Md5>,
}

/// What is proven of a closed file: never its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// Its size in bytes.
    pub size: u64,
    /// The MD5 of its bytes, if they came in order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub md5: Option<Md5>,
    /// The stored object that it is, byte for byte.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<ObjectKey>,
}

/// How a file compares with what a manifest wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fit {
    /// It is that object.
    Yes,
    /// It is not, and why.
    No(String),
    /// To tell, this must be known.
    Ask(Need),
}

impl Content {
    pub(super) const EMPTY: Self = Self { size: 0, md5: None, object: None };

    /// Is this the wanted object?
    pub(super) fn fit(&self, wanted: &Wanted, facts: &Facts) -> Fit {
        if self.size != wanted.size {
            return Fit::No(format!("it has {} bytes, the backup's {}", self.size, wanted.size));
        }
        // An empty file sends no bytes and no range: its name is all there is.
        if self.size == 0 || self.object.as_ref() == Some(&wanted.key) {
            return Fit::Yes;
        }
        let Some(md5) = self.md5 else {
            return Fit::No(match &self.object {
                Some(other) => format!("it is the stored {other}, the backup has {}", wanted.key),
                None => "nothing proves its bytes".to_owned(),
            });
        };
        let stored = match (wanted.md5, facts.digest(&wanted.key, wanted.size)) {
            (Some(recorded), _) => Found::Is(recorded),
            (None, Some(found)) => found,
            (None, None) => {
                return Fit::Ask(Need::Digest { key: wanted.key.clone(), len: wanted.size });
            }
        };
        match stored {
            Found::Is(stored) if stored == md5 => Fit::Yes,
            Found::Is(stored) => Fit::No(format!("its MD5 is {md5}, the backup's {stored}")),
            Found::TooShort => {
                Fit::No(format!("the stored {} is shorter than its manifest says", wanted.key))
            }
        }
    }
}

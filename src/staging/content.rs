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
    /// Whether what is stored may rightly be another than that: then the stored object counts, as it
    /// is.
    pub may_be_written_anew: bool,
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
        match self.fit_record(wanted, facts) {
            Fit::No(why) if wanted.may_be_written_anew => self.fit_stored(&wanted.key, why, facts),
            fit => fit,
        }
    }

    /// Is this the object as it is stored, whatever its manifest says?
    fn fit_stored(&self, key: &ObjectKey, why: String, facts: &Facts) -> Fit {
        let may_be = self.size > 0 && (self.md5.is_some() || self.object.as_ref() == Some(key));
        if !may_be {
            return Fit::No(why);
        }
        let ask = |len| Fit::Ask(Need::Digest { key: key.clone(), len });
        let stored = match facts.digest(key, self.size) {
            Some(Found::Is(stored)) => stored,
            Some(Found::TooShort) => return Fit::No(why),
            None => return ask(self.size),
        };
        // It ends there if it has not a byte more.
        let longer = self.size.saturating_add(1);
        match facts.digest(key, longer) {
            None => ask(longer),
            Some(Found::TooShort) if self.object.as_ref() == Some(key) => Fit::Yes,
            Some(Found::TooShort) if self.md5 == Some(stored) => Fit::Yes,
            Some(_) => Fit::No(why),
        }
    }

    fn fit_record(&self, wanted: &Wanted, facts: &Facts) -> Fit {
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

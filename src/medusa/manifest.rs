//! `manifest.json`: which objects a node backup consists of.

use std::fmt;
use std::io::Read;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::model::{ByteSize, Md5};

use super::FormatError;
use super::json;

/// The largest manifest that is read: some five million files.
pub const MANIFEST_LIMIT: ByteSize = ByteSize(1 << 30);

/// What a manifest says of an object's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecordedHash {
    /// Nothing: Medusa's mark for a file that it reused.
    Absent,
    /// The MD5 of the content, written as 32 hex digits or as base64 of the 16 bytes.
    Content(Md5),
    /// Something else: an ETag of several parts, `no-md5-hash`. It says nothing of the content.
    Foreign,
}

impl RecordedHash {
    /// Takes the text of an object's `MD5`.
    pub fn parse(text: &str) -> Self {
        if let Ok(md5) = Md5::parse_hex(text) {
            return Self::Content(md5);
        }
        // GCS and Azure write the 16 bytes in base64: always 24 characters.
        let decoded = if text.len() == 24 { STANDARD.decode(text).ok() } else { None };
        decoded
            .and_then(|bytes| <[u8; 16]>::try_from(bytes).ok())
            .map_or(Self::Foreign, |bytes| Self::Content(Md5(bytes)))
    }

    /// The content's MD5, if it is one.
    pub fn content(self) -> Option<Md5> {
        match self {
            Self::Content(md5) => Some(md5),
            Self::Absent | Self::Foreign => None,
        }
    }
}

/// Receives a manifest as it is read, so that none is ever whole in memory.
pub trait ManifestVisitor {
    /// An object of the section that the next [`section`](Self::section) closes. `path` is as it
    /// was found: it may be absolute, hold `..`, or lie in another node's part of the store.
    fn object(&mut self, path: &str, size: u64, hash: RecordedHash);

    /// The objects since the last call belong to this table. `keyspace` and `columnfamily` are as
    /// they were found. A table may come twice.
    fn section(&mut self, keyspace: &str, columnfamily: &str);
}

/// Reads a manifest of at most [`MANIFEST_LIMIT`] and eight levels, section by section.
///
/// What a half-written one holds is told before the error: throw it away then.
pub fn read_manifest(
    reader: impl Read,
    visitor: &mut impl ManifestVisitor,
) -> Result<(), FormatError> {
    json::read_with("manifest", MANIFEST_LIMIT, reader, Sections(visitor))
}

/// The outer array.
struct Sections<'a, V>(&'a mut V);

impl<'de, V: ManifestVisitor> DeserializeSeed<'de> for Sections<'_, V> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de, V: ManifestVisitor> Visitor<'de> for Sections<'_, V> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of tables")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        while array.next_element_seed(Section(&mut *self.0))?.is_some() {}
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum SectionKey {
    Keyspace,
    Columnfamily,
    Objects,
    #[serde(other)]
    Other,
}

/// One table. Its objects are told as they come, its names when it ends: the keys' order is free.
struct Section<'a, V>(&'a mut V);

impl<'de, V: ManifestVisitor> DeserializeSeed<'de> for Section<'_, V> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de, V: ManifestVisitor> Visitor<'de> for Section<'_, V> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table with keyspace, columnfamily and objects")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (mut keyspace, mut columnfamily, mut objects) = (None::<String>, None::<String>, None);
        while let Some(key) = map.next_key()? {
            match key {
                SectionKey::Keyspace => once(&mut keyspace, "keyspace", map.next_value()?)?,
                SectionKey::Columnfamily => {
                    once(&mut columnfamily, "columnfamily", map.next_value()?)?;
                }
                SectionKey::Objects => {
                    map.next_value_seed(Objects(&mut *self.0))?;
                    once(&mut objects, "objects", ())?;
                }
                SectionKey::Other => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        let keyspace = keyspace.ok_or_else(|| A::Error::missing_field("keyspace"))?;
        let columnfamily = columnfamily.ok_or_else(|| A::Error::missing_field("columnfamily"))?;
        objects.ok_or_else(|| A::Error::missing_field("objects"))?;
        self.0.section(&keyspace, &columnfamily);
        Ok(())
    }
}

/// A key that comes twice would let two readers see two manifests.
fn once<T, E: Error>(slot: &mut Option<T>, key: &'static str, value: T) -> Result<(), E> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(E::duplicate_field(key)),
    }
}

/// The inner array.
struct Objects<'a, V>(&'a mut V);

impl<'de, V: ManifestVisitor> DeserializeSeed<'de> for Objects<'_, V> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de, V: ManifestVisitor> Visitor<'de> for Objects<'_, V> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        while let Some(object) = array.next_element::<WrittenObject>()? {
            let hash = object.md5.as_deref().map_or(RecordedHash::Absent, RecordedHash::parse);
            self.0.object(&object.path, object.size, hash);
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct WrittenObject {
    path: String,
    #[serde(rename = "MD5", default)]
    md5: Option<String>,
    size: u64,
}

#[cfg(test)]
pub use whole::Manifest;

/// A manifest that a test has in memory.
#[cfg(test)]
mod whole {
    use super::{FormatError, ManifestVisitor, RecordedHash, read_manifest};

    /// A whole manifest in memory, for tests.
    #[derive(Debug, Clone, Default, PartialEq, Eq)]
    pub struct Manifest {
        /// In the order of the file.
        pub sections: Vec<ManifestSection>,
    }

    /// One table of a [`Manifest`].
    #[derive(Debug, Clone, Default, PartialEq, Eq)]
    pub struct ManifestSection {
        /// The keyspace's directory name, unchecked.
        pub keyspace: String,
        /// The table's directory name, unchecked.
        pub columnfamily: String,
        /// In the order of the file; none for an empty table.
        pub objects: Vec<ManifestObject>,
    }

    /// One file of a [`ManifestSection`].
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct ManifestObject {
        /// Below the store's root, prefix included; unchecked.
        pub path: String,
        /// In bytes.
        pub size: u64,
        /// What is recorded of its content.
        pub hash: RecordedHash,
    }

    impl Manifest {
        /// Reads a manifest from memory.
        pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
            let mut whole = Collect::default();
            read_manifest(bytes, &mut whole)?;
            Ok(Self { sections: whole.sections })
        }
    }

    #[derive(Default)]
    struct Collect {
        sections: Vec<ManifestSection>,
        objects: Vec<ManifestObject>,
    }

    impl ManifestVisitor for Collect {
        fn object(&mut self, path: &str, size: u64, hash: RecordedHash) {
            self.objects.push(ManifestObject { path: path.to_owned(), size, hash });
        }

        fn section(&mut self, keyspace: &str, columnfamily: &str) {
            self.sections.push(ManifestSection {
                keyspace: keyspace.to_owned(),
                columnfamily: columnfamily.to_owned(),
                objects: std::mem::take(&mut self.objects),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::ManifestWriter;
    use super::whole::{ManifestObject, ManifestSection};
    use super::*;
    use crate::model::{Keyspace, ObjectKey, TableDirectory};
    use proptest::prelude::*;
    use test_case::test_case;

    #[test_case("d1f12c37c9d318a711062bf4fee2ba71", true; "hex, by local and S3")]
    #[test_case("0fEsN8nTGKcRBiv0/uK6cQ==", true; "base64, by GCS and Azure")]
    #[test_case("d1f12c37c9d318a711062bf4fee2ba71-3", false; "an ETag of three parts")]
    #[test_case("no-md5-hash", false; "Azure's way of saying that there is none")]
    #[test_case("0x8DC0000000000000000000", false; "an ETag of Azure, 24 long")]
    #[test_case("", false; "empty")]
    fn a_hash_counts_only_if_it_is_the_content_s(text: &str, counts: bool) {
        assert_eq!(RecordedHash::parse(text).content().is_some(), counts);
    }

    #[test]
    fn hex_and_base64_of_one_content_are_equal() {
        let hex = RecordedHash::parse("d1f12c37c9d318a711062bf4fee2ba71");
        assert_eq!(hex, RecordedHash::parse("0fEsN8nTGKcRBiv0/uK6cQ=="));
    }

    #[test]
    fn keys_may_come_in_any_order_and_unknown_ones_are_passed_over() {
        let text = br#"[{"objects": [{"size": 1, "note": {"a": [1]}, "path": "n/f"}],
            "new": [], "columnfamily": "t", "keyspace": "k"}]"#;
        let manifest = Manifest::parse(text).unwrap();
        assert_eq!(manifest.sections[0].keyspace, "k");
        assert_eq!(manifest.sections[0].objects[0].hash, RecordedHash::Absent);
    }

    #[test_case("[{"; "half-written")]
    #[test_case("{}"; "no array")]
    #[test_case("[] []"; "something after it")]
    #[test_case(r#"[{"keyspace":"k","columnfamily":"t"}]"#; "no objects")]
    #[test_case(r#"[{"keyspace":"k","columnfamily":"t","objects":[{"path":"p"}]}]"#; "no size")]
    #[test_case(r#"[{"keyspace":"k","columnfamily":"t","objects":[{"path":"p","size":-1}]}]"#; "a size below nothing")]
    #[test_case(r#"[{"keyspace":"k","keyspace":"l","columnfamily":"t","objects":[]}]"#; "a key twice")]
    fn what_medusa_would_not_write_is_refused(text: &str) {
        assert!(matches!(Manifest::parse(text.as_bytes()), Err(FormatError::Malformed { .. })));
    }

    #[test]
    fn a_manifest_nested_without_end_is_refused_and_harms_nobody() {
        let text = format!("[{{\"x\":{}", "[".repeat(1_000_000));
        assert!(matches!(Manifest::parse(text.as_bytes()), Err(FormatError::TooDeep { .. })));
    }

    fn name() -> impl Strategy<Value = String> {
        "[^/\0]{1,12}".prop_filter("no dots", |name| name != "." && name != "..")
    }

    prop_compose! {
        fn object()(path in prop::collection::vec(name(), 1..4), size: u64, md5: Option<[u8; 16]>)
            -> ManifestObject
        {
            let hash = md5.map_or(RecordedHash::Absent, |md5| RecordedHash::Content(Md5(md5)));
            ManifestObject { path: path.join("/"), size, hash }
        }
    }

    prop_compose! {
        fn section()(keyspace in name(), columnfamily in name(),
                     objects in prop::collection::vec(object(), 0..4)) -> ManifestSection
        {
            ManifestSection { keyspace, columnfamily, objects }
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(sections in prop::collection::vec(section(), 0..4)) {
            let mut writer = ManifestWriter::new(Vec::new()).unwrap();
            for section in &sections {
                let keyspace = Keyspace::parse(&section.keyspace).unwrap();
                let table = TableDirectory::parse(&section.columnfamily).unwrap();
                writer.section(&keyspace, &table).unwrap();
                for object in &section.objects {
                    let key = ObjectKey::parse(&object.path).unwrap();
                    writer.object(&key, object.size, object.hash.content()).unwrap();
                }
            }
            let bytes = writer.finish().unwrap();
            prop_assert_eq!(Manifest::parse(&bytes).unwrap(), Manifest { sections });
        }

        #[test]
        fn arbitrary_bytes_are_an_error_and_no_panic(bytes: Vec<u8>) {
            drop(Manifest::parse(&bytes));
        }

        #[test]
        fn a_manifest_cut_anywhere_is_an_error(cut in 0..150_usize) {
            let whole = br#"[{"keyspace": "shop", "columnfamily": "orders-1b255f4def2540a60000000000000005", "objects": [{"path": "n/data/shop/x/nb-1-big-Data.db", "MD5": null, "size": 3206}]}]"#;
            prop_assert!(Manifest::parse(whole).is_ok());
            prop_assert!(Manifest::parse(&whole[..cut]).is_err());
        }
    }
}

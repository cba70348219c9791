//! Writes `manifest.json`, byte for byte as Python's `json.dumps` would.

use std::io::{self, Write};

use crate::model::{Keyspace, Md5, ObjectKey, TableDirectory};

use super::json::push_string;

/// Writes a manifest as it grows, so that none is ever whole in memory.
///
/// Sections and objects stand in the order in which they were told; readers must not rely on it.
#[derive(Debug)]
pub struct ManifestWriter<W> {
    out: W,
    line: String,
    in_section: bool,
    first: bool,
}

impl<W: Write> ManifestWriter<W> {
    /// Begins a manifest. Each call writes one small piece: give it a buffered writer.
    pub fn new(mut out: W) -> io::Result<Self> {
        out.write_all(b"[")?;
        Ok(Self { out, line: String::new(), in_section: false, first: true })
    }

    /// Begins a table. One without objects is an empty table, and must be told too.
    pub fn section(&mut self, keyspace: &Keyspace, table: &TableDirectory) -> io::Result<()> {
        self.line.clear();
        if self.in_section {
            self.line.push_str("]}, ");
        }
        self.line.push_str("{\"keyspace\": ");
        push_string(&mut self.line, keyspace.as_str());
        self.line.push_str(", \"columnfamily\": ");
        push_string(&mut self.line, table.as_str());
        self.line.push_str(", \"objects\": [");
        (self.in_section, self.first) = (true, true);
        self.out.write_all(self.line.as_bytes())
    }

    /// Adds an object to the table that was begun last; an error if none was.
    ///
    /// `key` starts at the store's root, prefix included; `size` is in bytes. What medusafs writes
    /// always has an MD5; none stands for Medusa's own mark of a reused file.
    pub fn object(&mut self, key: &ObjectKey, size: u64, md5: Option<Md5>) -> io::Result<()> {
        if !self.in_section {
            return Err(io::Error::other("an object of a manifest belongs to a table"));
        }
        self.line.clear();
        self.line.push_str(if self.first { "{\"path\": " } else { ", {\"path\": " });
        self.first = false;
        push_string(&mut self.line, key.as_str());
        self.line.push_str(", \"MD5\": ");
        match md5 {
            Some(md5) => push_string(&mut self.line, &md5.to_string()),
            None => self.line.push_str("null"),
        }
        self.line.push_str(", \"size\": ");
        self.line.push_str(&size.to_string());
        self.line.push('}');
        self.out.write_all(self.line.as_bytes())
    }

    /// Ends the manifest, without a newline as Medusa does, and flushes.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(if self.in_section { b"]}]" } else { b"]" })?;
        self.out.flush()?;
        Ok(self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_has_the_bytes_that_medusa_would_write() {
        let mut writer = ManifestWriter::new(Vec::new()).unwrap();
        let keyspace = Keyspace::parse("shop").unwrap();
        writer.section(&keyspace, &TableDirectory::parse("orders-1b").unwrap()).unwrap();
        let md5 = Md5::parse_hex("d1f12c37c9d318a711062bf4fee2ba71").unwrap();
        let key = |name: &str| ObjectKey::parse(&format!("n/data/shop/orders-1b/{name}")).unwrap();
        writer.object(&key("nb-3-big-Data.db"), 3206, Some(md5)).unwrap();
        writer.object(&key("nb-2-big-Data.db"), 3165, None).unwrap();
        writer.section(&keyspace, &TableDirectory::parse("empty-3b").unwrap()).unwrap();
        let text = String::from_utf8(writer.finish().unwrap()).unwrap();
        let wanted = r#"[{"keyspace": "shop", "columnfamily": "orders-1b", "objects": [{"path": "n/data/shop/orders-1b/nb-3-big-Data.db", "MD5": "d1f12c37c9d318a711062bf4fee2ba71", "size": 3206}, {"path": "n/data/shop/orders-1b/nb-2-big-Data.db", "MD5": null, "size": 3165}]}, {"keyspace": "shop", "columnfamily": "empty-3b", "objects": []}]"#;
        assert_eq!(text, wanted);
    }

    #[test]
    fn an_object_outside_of_a_table_is_refused() {
        let mut writer = ManifestWriter::new(Vec::new()).unwrap();
        assert!(writer.object(&ObjectKey::parse("x").unwrap(), 1, None).is_err());
    }

    #[test]
    fn a_manifest_of_nothing_has_two_bytes() {
        assert_eq!(ManifestWriter::new(Vec::new()).unwrap().finish().unwrap(), b"[]");
    }
}

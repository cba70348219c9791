//! Proof that bytes are those of the backup: of a file that the node still has, and of one while it
//! is copied.
//!
//! A file's MD5 proves it. For the big one, `Data.db`, the CRC32 in the `Digest.crc32` of its
//! SSTable does as well: the digest came from the backup itself, and a CRC is read as fast as the
//! disk gives. It is also what proves a `Data.db` of which Medusa recorded no hash (a file that a
//! differential backup reused).

use std::io::{self, Read, Write};

use md5::{Digest, Md5 as Hasher};

use super::order::BackupFile;
use crate::model::Md5;

/// Bytes that are read at once.
pub(super) const CHUNK: usize = 1 << 20;

/// What is known of a file's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Expected {
    /// Its bytes.
    pub size: u64,
    /// Its MD5, if the backup recorded one.
    pub md5: Option<Md5>,
    /// Its CRC32, if it is a `Data.db` with a digest.
    pub crc: Option<u32>,
    /// Whether what is stored may rightly be another than that.
    pub may_be_written_anew: bool,
}

/// How sure a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sureness {
    /// Its bytes are those that were backed up.
    Proven,
    /// Its MD5 is right, but the SSTable's own digest says otherwise: it was damaged before it was
    /// backed up.
    DamagedBefore,
    /// Nothing but its size was recorded.
    SizeOnly,
    /// It is another than was recorded, and rightly so: a later one of the same SSTable.
    WrittenAnew,
}

/// The component of an SSTable's file: `Data.db`, of `oa-5-big-Data.db`; none for other names.
pub(super) fn component(file: &BackupFile) -> Option<&str> {
    file.name.file_name().splitn(4, '-').nth(3)
}

/// The SSTable that a file belongs to, its index's directory included: `.users_city/oa-5-big`.
/// Other files stand alone.
pub(super) fn sstable(file: &BackupFile) -> &str {
    let name = file.name.as_str();
    component(file).and_then(|component| name.strip_suffix(component)).unwrap_or(name)
}

/// The checksum in a `Digest.crc32`: a decimal number.
pub(super) fn digest_value(text: &[u8]) -> Option<u32> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

/// Reads a file of the node to its end and says whether it is the backup's, by the cheapest sure
/// proof. `step` is told of each chunk and ends the reading by an error.
pub(super) fn is_same(
    mut read: impl FnMut(&mut [u8]) -> io::Result<usize>,
    expected: &Expected,
    mut step: impl FnMut(usize) -> io::Result<()>,
) -> io::Result<bool> {
    let mut buffer = vec![0; CHUNK];
    let (mut size, mut crc, mut md5) = (0_u64, crc32fast::Hasher::new(), Hasher::new());
    if expected.crc.is_none() && expected.md5.is_none() {
        return Ok(false);
    }
    loop {
        let got = read(&mut buffer)?;
        let Some(bytes) = buffer.get(..got).filter(|bytes| !bytes.is_empty()) else { break };
        size += got as u64;
        if size > expected.size {
            return Ok(false);
        }
        match expected.crc {
            Some(_) => crc.update(bytes),
            None => md5.update(bytes),
        }
        step(got)?;
    }
    Ok(size == expected.size
        && match (expected.crc, expected.md5) {
            (Some(expected), _) => crc.finalize() == expected,
            (None, Some(expected)) => md5.finalize().as_slice() == expected.0,
            (None, None) => false,
        })
}

/// Copies a file and says how sure the copy is; or, as `Err` within, what differs from the backup's
/// record. `step` is told of each chunk before it is written, and ends the copy by an error.
pub(super) fn copy<E>(
    from: &mut impl Read,
    to: &mut impl Write,
    expected: &Expected,
    mut step: impl FnMut(usize) -> Result<(), E>,
) -> Result<Result<Sureness, String>, CopyError<E>> {
    let mut buffer = vec![0; CHUNK];
    let (mut size, mut crc, mut md5) = (0_u64, crc32fast::Hasher::new(), Hasher::new());
    loop {
        let read = match from.read(&mut buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(CopyError::Read(error)),
        };
        let Some(bytes) = buffer.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        size += read as u64;
        if size > expected.size && !expected.may_be_written_anew {
            break;
        }
        if expected.md5.is_some() {
            md5.update(bytes);
        }
        if expected.crc.is_some() {
            crc.update(bytes);
        }
        step(read).map_err(CopyError::Stopped)?;
        to.write_all(bytes).map_err(CopyError::Write)?;
    }
    let crc_right = expected.crc.map(|expected| crc.finalize() == expected);
    let found = Md5(md5.finalize().into());
    let as_recorded = match (expected.md5, crc_right) {
        _ if size > expected.size => Err(format!("it is longer than its {} bytes", expected.size)),
        _ if size < expected.size => {
            Err(format!("it has {size} bytes instead of {}", expected.size))
        }
        (Some(md5), _) if md5 != found => Err(format!("its MD5 is {found} instead of {md5}")),
        (Some(_), Some(false)) => Ok(Sureness::DamagedBefore),
        (Some(_), _) | (None, Some(true)) => Ok(Sureness::Proven),
        (None, Some(false)) => Err("it differs from its SSTable's Digest.crc32".to_owned()),
        (None, None) => Ok(Sureness::SizeOnly),
    };
    Ok(match as_recorded {
        Err(_) if expected.may_be_written_anew && size > 0 => Ok(Sureness::WrittenAnew),
        as_recorded => as_recorded,
    })
}

/// Which side of a copy failed.
#[derive(Debug)]
pub(super) enum CopyError<E> {
    /// The share.
    Read(io::Error),
    /// The node's disk.
    Write(io::Error),
    /// Told to stop, and why.
    Stopped(E),
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    const BYTES: &[u8] = b"hello";

    fn md5() -> Md5 {
        Md5::parse_hex("5d41402abc4b2a76b9719d911017c592").unwrap()
    }

    fn copied(bytes: &[u8], md5: Option<Md5>, crc: Option<u32>) -> Result<Sureness, String> {
        let expected = Expected { size: 5, md5, crc, may_be_written_anew: false };
        copy(&mut &bytes[..], &mut Vec::new(), &expected, |_| io::Result::Ok(())).unwrap()
    }

    #[test_case(Some(md5()), Some(0x3610_a686), Sureness::Proven; "both")]
    #[test_case(None, Some(0x3610_a686), Sureness::Proven; "by digest alone")]
    #[test_case(Some(md5()), Some(7), Sureness::DamagedBefore; "a digest that never was right")]
    #[test_case(None, None, Sureness::SizeOnly; "nothing recorded")]
    fn a_whole_copy_says_how_sure_it_is(md5: Option<Md5>, crc: Option<u32>, sure: Sureness) {
        assert_eq!(copied(BYTES, md5, crc), Ok(sure));
    }

    #[test_case(b"hell", Some(md5()), None; "too short")]
    #[test_case(b"hello!", Some(md5()), None; "too long")]
    #[test_case(b"hallo", Some(md5()), None; "another content")]
    #[test_case(b"hallo", None, Some(0x3610_a686); "another content by its digest")]
    fn a_copy_of_something_else_is_refused(bytes: &[u8], md5: Option<Md5>, crc: Option<u32>) {
        assert!(copied(bytes, md5, crc).is_err());
    }

    #[test_case(b"hello", Ok(Sureness::Proven); "as it was")]
    #[test_case(b"hell", Ok(Sureness::WrittenAnew); "shorter")]
    #[test_case(b"hello!", Ok(Sureness::WrittenAnew); "longer")]
    #[test_case(b"hallo", Ok(Sureness::WrittenAnew); "of the same size")]
    #[test_case(b"", Err(()); "empty")]
    fn what_may_be_written_anew_is_copied_as_it_is(bytes: &[u8], sure: Result<Sureness, ()>) {
        let expected = Expected { size: 5, md5: Some(md5()), crc: None, may_be_written_anew: true };
        let mut copied = Vec::new();
        let found = copy(&mut &bytes[..], &mut copied, &expected, |_| io::Result::Ok(())).unwrap();
        assert_eq!(found.map_err(drop), sure);
        assert_eq!(copied, bytes);
    }

    #[test]
    fn a_file_of_the_node_is_the_backups_only_by_proof() {
        let same = |mut bytes: &[u8], md5, crc| {
            let expected = Expected { size: 5, md5, crc, may_be_written_anew: true };
            is_same(|buffer| bytes.read(buffer), &expected, |_| Ok(())).unwrap()
        };
        assert!(same(BYTES, Some(md5()), None) && same(BYTES, None, Some(0x3610_a686)));
        assert!(!same(b"hallo", Some(md5()), None) && !same(b"hallo", None, Some(0x3610_a686)));
        assert!(!same(BYTES, None, None));
    }

    #[test]
    fn a_digest_is_a_decimal_number() {
        assert_eq!(digest_value(b"3064822\n"), Some(3_064_822));
        assert_eq!(digest_value(b"-1"), None);
    }
}

//! Reading the node's files without disturbing Cassandra.

use std::fs::File;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::io::{Errno, ReadWriteFlags, preadv2};

/// `RWF_DONTCACHE`, of Linux 6.14: what is in the page cache is read from there and stays, what
/// has to be fetched is dropped as it is read.
const DONT_CACHE: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);

/// A read past the page cache asks the disk itself: for so much at once, that it is fast.
const PIECE: usize = 1 << 20;

/// No disk has larger blocks: to those, place and memory of a read past the page cache are aligned.
const BLOCK: usize = 4096;

/// What is smaller is read the ordinary way: Cassandra has just written it, or it weighs nothing.
const SMALL: u64 = 256 << 10;

/// A file of a snapshot, read once from its beginning.
///
/// It is the same inode as Cassandra's live file, whose hot pages must stay in the page cache,
/// while a terabyte of cold ones must not drive others out. The kernel does just that where it
/// knows how ([`DONT_CACHE`]); an older one reads past its cache.
#[derive(Debug)]
pub(super) struct Source {
    file: File,
    at: u64,
    way: Way,
}

/// How the next bytes are read.
#[derive(Debug)]
enum Way {
    DontCache,
    Direct(Piece),
    Plain,
}

/// What was read last past the page cache.
#[derive(Debug)]
struct Piece {
    memory: Vec<u8>,
    aligned: usize,
    taken: usize,
    filled: usize,
}

impl Source {
    /// Opens a regular file; anything else, also a link that has taken its place, is an error.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        // Without blocking, so that a pipe that has taken the file's place stops nobody.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
        let file = File::options().read(true).custom_flags(flags).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
        }
        Ok(Self { file, at: 0, way: Way::DontCache })
    }

    /// The file itself.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Fills `buffer` with what comes next, less than all of it only at the end of the file.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.read_some(rest) {
                Ok(0) => break,
                Ok(got) => {
                    self.at = self.at.saturating_add(got as u64);
                    filled += got;
                }
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) if self.can_do_worse() => {
                    self.do_worse()?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(filled)
    }

    fn read_some(&mut self, into: &mut [u8]) -> Result<usize, Errno> {
        match &mut self.way {
            Way::DontCache => {
                preadv2(&self.file, &mut [IoSliceMut::new(into)], self.at, DONT_CACHE)
            }
            Way::Direct(piece) => {
                if piece.taken == piece.filled {
                    piece.fill(&self.file, self.at)?;
                }
                Ok(piece.take(into))
            }
            Way::Plain => rustix::io::pread(&self.file, into, self.at),
        }
    }

    fn can_do_worse(&self) -> bool {
        !matches!(self.way, Way::Plain)
    }

    /// The way was not known to this kernel, or to the file system: takes the next best one.
    fn do_worse(&mut self) -> io::Result<()> {
        let flags = fcntl_getfl(&self.file)?;
        let past_the_cache = matches!(self.way, Way::DontCache)
            && self.file.metadata()?.len() >= SMALL
            && fcntl_setfl(&self.file, flags | OFlags::DIRECT).is_ok();
        self.way = if past_the_cache {
            Way::Direct(Piece::new())
        } else {
            fcntl_setfl(&self.file, flags - OFlags::DIRECT)?;
            Way::Plain
        };
        Ok(())
    }
}

impl Piece {
    fn new() -> Self {
        let memory = vec![0; PIECE + BLOCK];
        let aligned = memory.as_ptr().align_offset(BLOCK).min(BLOCK);
        Self { memory, aligned, taken: 0, filled: 0 }
    }

    /// Reads what comes at `at`. After a short read, which ends where no block does, the disk
    /// refuses this way with EINVAL: at the end of a file another one finds that nothing is left.
    fn fill(&mut self, file: &File, at: u64) -> Result<(), Errno> {
        (self.taken, self.filled) = (0, 0);
        let room = self.memory.get_mut(self.aligned..).and_then(|room| room.get_mut(..PIECE));
        self.filled = rustix::io::pread(file, room.unwrap_or_default(), at)?;
        Ok(())
    }

    fn take(&mut self, into: &mut [u8]) -> usize {
        let there = self.memory.get(self.aligned..).unwrap_or_default();
        let there = there.get(self.taken..self.filled).unwrap_or_default();
        let count = there.len().min(into.len());
        if let (Some(into), Some(from)) = (into.get_mut(..count), there.get(..count)) {
            into.copy_from_slice(from);
        }
        self.taken += count;
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{Advice, fadvise};
    use test_case::test_case;

    const BYTES: usize = 8 << 20;

    fn read_all(mut source: Source) -> Vec<u8> {
        let (mut all, mut buffer) = (Vec::new(), vec![0; 300_000]);
        loop {
            match source.read(&mut buffer).unwrap() {
                0 => return all,
                got => all.extend_from_slice(&buffer[..got]),
            }
        }
    }

    fn known(path: &Path) -> Source {
        Source::open(path).unwrap()
    }

    /// As a kernel before 6.14 reads.
    fn older(path: &Path) -> Source {
        let mut source = Source::open(path).unwrap();
        source.do_worse().unwrap();
        source
    }

    fn ordinary(path: &Path) -> Source {
        let mut source = older(path);
        if source.can_do_worse() {
            source.do_worse().unwrap();
        }
        source
    }

    #[test_case(known)]
    #[test_case(older)]
    #[test_case(ordinary)]
    fn a_file_reads_whole_whether_it_is_cached_or_not(open: fn(&Path) -> Source) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for bytes in [0, 1, 4096, SMALL, 3 << 20, 3_000_001] {
            let content: Vec<u8> = (0..bytes).map(|n| (n % 251) as u8).collect();
            std::fs::write(&path, &content).unwrap();
            assert!(read_all(open(&path)) == content, "{bytes} bytes");
            drop_from_memory(&path);
            assert!(read_all(open(&path)) == content, "{bytes} bytes");
        }
    }

    fn drop_from_memory(path: &Path) {
        let file = File::open(path).unwrap();
        file.sync_all().unwrap();
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    }

    /// How many bytes this thread makes the disk read.
    fn fetched(what: impl FnOnce()) -> usize {
        let so_far = || {
            let io = std::fs::read_to_string("/proc/thread-self/io").unwrap();
            let line = io.lines().find_map(|line| line.strip_prefix("read_bytes: ")).unwrap();
            line.parse::<usize>().unwrap()
        };
        let before = so_far();
        what();
        so_far() - before
    }

    #[test_case(known)]
    #[test_case(older)]
    fn what_was_cached_stays_and_what_was_fetched_goes(open: fn(&Path) -> Source) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, vec![7; BYTES]).unwrap();
        let anybody = || fetched(|| drop(std::fs::read(&path).unwrap()));
        drop_from_memory(&path);
        if anybody() < BYTES {
            // A file system in memory: there is no disk to fetch from, and nothing to drop.
            return;
        }
        read_all(open(&path));
        assert!(anybody() < BYTES / 8, "Cassandra's pages were driven out");
        drop_from_memory(&path);
        let source = open(&path);
        if matches!(source.way, Way::Plain) {
            return;
        }
        read_all(source);
        assert!(anybody() > BYTES / 8 * 7, "a backup's pages stay");
    }

    #[test]
    fn what_is_no_regular_file_is_refused_and_never_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let (pipe, link) = (folder.path().join("pipe"), folder.path().join("link"));
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        assert!(Source::open(&pipe).is_err());
        assert!(Source::open(&link).is_err());
        assert!(Source::open(folder.path()).is_err());
    }
}

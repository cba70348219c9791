//! Our words and fuser's.

use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use fuser::FileAttr;
use fuser::FileType;
use fuser::INodeNo;
use fuser::Request;
use fuser::TimeOrNow;

use crate::fs::Caller;
use crate::fs::FsError;
use crate::model::Clock;
use crate::model::SystemClock;
use crate::model::UnixSeconds;
use crate::view::Attr;
use crate::view::Ino;
use crate::view::Kind;

/// Big enough that `cat` and `cp` read in large pieces.
const BLOCK_SIZE: u32 = 128 << 10;

pub(super) fn caller(request: &Request) -> Caller {
    Caller { uid: request.uid(), gid: request.gid(), pid: request.pid() }
}

pub(super) fn ino(number: INodeNo) -> Ino {
    Ino(number.0)
}

pub(super) fn kind(kind: Kind) -> FileType {
    match kind {
        Kind::Directory => FileType::Directory,
        Kind::File => FileType::RegularFile,
        Kind::Link => FileType::Symlink,
    }
}

pub(super) fn attr(attr: &Attr) -> FileAttr {
    let time = time(attr.modified);
    FileAttr {
        ino: INodeNo(attr.ino.0),
        size: attr.size,
        blocks: attr.blocks(),
        atime: time,
        mtime: time,
        ctime: time,
        crtime: time,
        kind: kind(attr.kind),
        perm: attr.mode,
        nlink: attr.links,
        uid: attr.uid,
        gid: attr.gid,
        rdev: 0,
        blksize: BLOCK_SIZE,
        flags: 0,
    }
}

/// An entry that says "there is no such name, and do not ask again for a while".
pub(super) fn no_attr() -> FileAttr {
    attr(&Attr {
        ino: Ino(0),
        kind: Kind::File,
        size: 0,
        modified: UnixSeconds(0),
        mode: 0,
        uid: 0,
        gid: 0,
        links: 0,
    })
}

pub(super) fn errno(error: &FsError) -> fuser::Errno {
    fuser::Errno::from_i32(error.errno() as i32)
}

pub(super) fn modified(time: Option<TimeOrNow>) -> Option<UnixSeconds> {
    time.map(|time| match time {
        TimeOrNow::SpecificTime(time) => time.into(),
        TimeOrNow::Now => SystemClock.now(),
    })
}

fn time(seconds: UnixSeconds) -> SystemTime {
    let whole = Duration::from_secs(seconds.0.unsigned_abs());
    let time =
        if seconds.0 < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
    time.unwrap_or(UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_and_beyond_all_calendars_are_no_panic() {
        assert_eq!(time(UnixSeconds(-1)), UNIX_EPOCH - Duration::from_secs(1));
        assert!(time(UnixSeconds(i64::MAX)) > UNIX_EPOCH);
        assert!(time(UnixSeconds(i64::MIN)) <= UNIX_EPOCH);
    }

    #[test]
    fn an_errno_arrives_as_it_was_meant() {
        let error = FsError::ReadOnly(String::new());
        assert_eq!(i32::from(errno(&error)), libc::EROFS);
    }
}

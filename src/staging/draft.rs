//! The bytes of a file that is being written: hashed or compared as they come, never kept.

use md5::Digest as _;

use crate::model::Md5;
use crate::model::ObjectKey;

use super::content::{Content, Wanted};
use super::error::{Kind, Refusal};
use super::extents::Extents;
use super::facts::{Asked, Facts, Found, Need};
use super::snapshot::Source;

/// A file open for writing, or closed and not judged yet.
pub(super) struct Draft {
    size: u64,
    mode: Mode,
    /// What it may turn out to be. Every byte that a [`Mode::Comparing`] covers is that of each.
    rivals: Vec<Rival>,
    /// By its name it can be nothing else.
    exact: bool,
}

struct Rival {
    wanted: Wanted,
    /// Every byte that was hashed has been compared with it too.
    compared: bool,
}

impl Rival {
    /// Whether it may be so long: how long what was written anew is, is not known here.
    fn may_have(&self, bytes: u64) -> bool {
        bytes <= self.wanted.size || self.wanted.may_be_written_anew
    }
}

enum Mode {
    /// The first `hashed` bytes came by `write`, in order.
    Hashing { hasher: Box<md5::Md5>, hashed: u64 },
    /// These ranges are those of every rival.
    Comparing(Extents),
    /// As it was before it was opened, and only its hash is known.
    Hashed(Md5),
}

fn wrong(reason: impl Into<String>) -> Refusal {
    Refusal::new(Kind::WrongBytes, reason)
}

impl Draft {
    /// A file without bytes that will be one of `expected`; if `exact`, nothing else.
    pub(super) fn new(expected: Vec<Wanted>, exact: bool) -> Self {
        let rival = |wanted: Wanted| Rival { compared: wanted.md5.is_none(), wanted };
        let rivals = expected.into_iter().map(rival).collect();
        Self { size: 0, mode: Mode::empty(), rivals, exact }
    }

    /// A file that is changed in place.
    pub(super) fn of(content: &Content, expected: Vec<Wanted>, exact: bool) -> Self {
        let mut draft = Self::new(expected, exact);
        if content.size == 0 {
            return draft;
        }
        draft.size = content.size;
        if let Some(key) = &content.object {
            let mut proven = Extents::default();
            if proven.add(0, content.size) {
                draft.mode = Mode::Comparing(proven);
            }
            let (key, size, md5) = (key.clone(), content.size, content.md5);
            let wanted = Wanted { key, size, md5, may_be_written_anew: false };
            draft.rivals = vec![Rival { wanted, compared: true }];
        } else if let Some(md5) = content.md5 {
            draft.mode = Mode::Hashed(md5);
            for rival in &mut draft.rivals {
                rival.compared = false;
            }
        }
        draft
    }

    /// It has another name now, under which it may be something else.
    pub(super) fn rename(&mut self) {
        self.exact = false;
    }

    /// How long it is so far, in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The object that every byte so far is from, if there is only one left that it can be.
    pub(super) fn object(&self) -> Option<&ObjectKey> {
        match (&self.mode, self.rivals.as_slice()) {
            (Mode::Comparing(_), [only]) => Some(&only.wanted.key),
            _ => None,
        }
    }

    /// Takes bytes. `equal` says which of the objects asked for in [`Need::Compare`] have them.
    pub(super) fn write(
        &mut self,
        offset: u64,
        data: &[u8],
        equal: Option<&[ObjectKey]>,
        facts: &Facts,
    ) -> Result<Asked<()>, Refusal> {
        if data.is_empty() {
            return Ok(Asked::Done(()));
        }
        let end = u64::try_from(data.len()).ok().and_then(|len| offset.checked_add(len));
        let Some(end) = end else {
            return Err(wrong("it would be longer than a file can be"));
        };
        if self.exact && !self.rivals.iter().any(|rival| rival.may_have(end)) {
            return Err(self.too_long(end));
        }
        let in_order = matches!(&self.mode, Mode::Hashing { hashed, .. } if *hashed == offset);
        if !in_order && let Asked::Need(need) = self.compare_from_here(facts)? {
            return Ok(Asked::Need(need));
        }
        let to_compare = |rival: &Rival| !in_order || rival.compared;
        let keys: Vec<ObjectKey> = self
            .rivals
            .iter()
            .filter(|rival| to_compare(rival))
            .map(|rival| rival.wanted.key.clone())
            .collect();
        if !keys.is_empty() {
            let Some(equal) = equal else {
                return Ok(Asked::Need(Need::Compare { keys }));
            };
            let stays = |rival: &Rival| !to_compare(rival) || equal.contains(&rival.wanted.key);
            if !self.rivals.iter().any(stays) && (self.exact || !in_order) {
                return Err(wrong(format!(
                    "bytes {offset} to {end} are not those of the stored {}",
                    joined(&keys)
                )));
            }
            self.rivals.retain(stays);
        }
        match &mut self.mode {
            Mode::Hashing { hasher, hashed } => {
                hasher.update(data);
                *hashed = end;
            }
            Mode::Comparing(proven) => {
                if !proven.add(offset, end) {
                    return Err(wrong("it comes in more pieces than can be kept track of"));
                }
            }
            Mode::Hashed(_) => return Err(wrong("its bytes before these are not known")),
        }
        self.size = self.size.max(end);
        Ok(Asked::Done(()))
    }

    /// Takes `len` bytes of an object at most, as many as it has, and tells how many.
    pub(super) fn copy(
        &mut self,
        source: &Source,
        from: u64,
        to: u64,
        len: u64,
        facts: &Facts,
    ) -> Result<Asked<u64>, Refusal> {
        let len = len.min(source.size.saturating_sub(from));
        if len == 0 {
            return Ok(Asked::Done(0));
        }
        if from != to {
            let reason = "a range is taken from another offset; write the bytes instead";
            return Err(Refusal::new(Kind::Unsupported, reason));
        }
        if !self.rivals.iter().any(|rival| rival.wanted.key == source.key) {
            if self.exact || self.size > 0 && !self.rivals.is_empty() {
                let keys: Vec<_> = self.rivals.iter().map(|r| r.wanted.key.clone()).collect();
                return Err(wrong(format!(
                    "it is copied from the stored {}, the backup has {}",
                    source.key,
                    joined(&keys)
                )));
            }
            let (key, size) = (source.key.clone(), source.size);
            let wanted = Wanted { key, size, md5: None, may_be_written_anew: false };
            self.rivals = vec![Rival { wanted, compared: false }];
        }
        if let Asked::Need(need) = self.compare_from_here(facts)? {
            return Ok(Asked::Need(need));
        }
        self.rivals.retain(|rival| rival.wanted.key == source.key);
        let end = to.saturating_add(len);
        let kept = match &mut self.mode {
            Mode::Comparing(proven) => proven.add(to, end),
            Mode::Hashing { .. } | Mode::Hashed(_) => false,
        };
        if !kept {
            return Err(wrong("it comes in more pieces than can be kept track of"));
        }
        self.size = self.size.max(end);
        Ok(Asked::Done(len))
    }

    /// Cuts it to some bytes, or makes it longer by a hole.
    pub(super) fn truncate(&mut self, size: u64, facts: &Facts) -> Result<Asked<()>, Refusal> {
        if self.exact && !self.rivals.iter().any(|rival| rival.may_have(size)) {
            return Err(self.too_long(size));
        }
        let kept = matches!(&self.mode, Mode::Hashing { hashed, .. } if *hashed <= size);
        if size < self.size && !kept {
            if let Asked::Need(need) = self.compare_from_here(facts)? {
                return Ok(Asked::Need(need));
            }
            if let Mode::Comparing(proven) = &mut self.mode {
                proven.cut(size);
            }
        }
        self.size = size;
        Ok(Asked::Done(()))
    }

    /// What it is, if nothing more comes; the reason if it is nothing of any backup.
    pub(super) fn conclude(&mut self, facts: &Facts) -> Asked<Result<Content, String>> {
        if self.size == 0 {
            return Asked::Done(Ok(Content::EMPTY));
        }
        if let Mode::Hashed(md5) = self.mode {
            return Asked::Done(Ok(Content { size: self.size, md5: Some(md5), object: None }));
        }
        if let Mode::Hashing { hasher, hashed } = &self.mode
            && *hashed == self.size
        {
            let md5 = Md5(hasher.as_ref().clone().finalize().into());
            let same = |rival: &&Rival| rival.compared && rival.wanted.size == self.size;
            let object = self.rivals.iter().find(same).map(|rival| rival.wanted.key.clone());
            return Asked::Done(Ok(Content { size: self.size, md5: Some(md5), object }));
        }
        match self.compare_from_here(facts) {
            Ok(Asked::Done(())) => self.tile(facts),
            Ok(Asked::Need(need)) => Asked::Need(need),
            Err(refusal) => Asked::Done(Err(refusal.reason)),
        }
    }

    /// Finds the rival that the proven ranges cover, holes being zeros.
    fn tile(&self, facts: &Facts) -> Asked<Result<Content, String>> {
        let Mode::Comparing(proven) = &self.mode else {
            return Asked::Done(Err("nothing proves its bytes".to_owned()));
        };
        let mut reason = None;
        // One of another size than recorded may be what was written anew.
        let (same, other): (Vec<&Rival>, Vec<&Rival>) =
            self.rivals.iter().partition(|rival| rival.wanted.size == self.size);
        'rivals: for Rival { wanted, .. } in same.into_iter().chain(other) {
            if wanted.size != self.size && !wanted.may_be_written_anew {
                let sizes = format!("it has {} bytes, the backup's {}", self.size, wanted.size);
                reason = reason.or(Some(sizes));
                continue;
            }
            for (start, end) in proven.gaps(self.size) {
                match facts.zeros(&wanted.key, start, end) {
                    Some(true) => {}
                    Some(false) => {
                        let hole = format!("bytes {start} to {end} did not come");
                        reason = reason.or(Some(hole));
                        continue 'rivals;
                    }
                    None => {
                        return Asked::Need(Need::Zeros { key: wanted.key.clone(), start, end });
                    }
                }
            }
            let object = Some(wanted.key.clone());
            return Asked::Done(Ok(Content { size: self.size, md5: None, object }));
        }
        Asked::Done(Err(reason.unwrap_or_else(|| "nothing proves its bytes".to_owned())))
    }

    /// Ends hashing: from here on every range is compared with the rivals, of which those stay that
    /// have the bytes so far.
    fn compare_from_here(&mut self, facts: &Facts) -> Result<Asked<()>, Refusal> {
        let (len, md5) = match &self.mode {
            Mode::Comparing(_) => return Ok(Asked::Done(())),
            Mode::Hashing { hashed: 0, .. } => {
                if self.rivals.is_empty() {
                    return Err(out_of_order());
                }
                self.mode = Mode::Comparing(Extents::default());
                return Ok(Asked::Done(()));
            }
            Mode::Hashing { hasher, hashed } => {
                (*hashed, Md5(hasher.as_ref().clone().finalize().into()))
            }
            Mode::Hashed(md5) => (self.size, *md5),
        };
        if self.rivals.is_empty() {
            return Err(out_of_order());
        }
        for rival in self.rivals.iter().filter(|rival| !rival.compared) {
            if facts.digest(&rival.wanted.key, len).is_none() {
                return Ok(Asked::Need(Need::Digest { key: rival.wanted.key.clone(), len }));
            }
        }
        let same = |rival: &Rival| {
            rival.compared || facts.digest(&rival.wanted.key, len) == Some(Found::Is(md5))
        };
        if !self.rivals.iter().any(same) {
            let keys: Vec<_> = self.rivals.iter().map(|r| r.wanted.key.clone()).collect();
            return Err(wrong(format!(
                "its first {len} bytes are not those of the stored {}",
                joined(&keys)
            )));
        }
        self.rivals.retain(same);
        for rival in &mut self.rivals {
            rival.compared = true;
        }
        let mut proven = Extents::default();
        if !proven.add(0, len) {
            return Err(out_of_order());
        }
        self.mode = Mode::Comparing(proven);
        Ok(Asked::Done(()))
    }

    fn too_long(&self, end: u64) -> Refusal {
        let longest = self.rivals.iter().map(|rival| rival.wanted.size).max().unwrap_or(0);
        wrong(format!("it would have {end} bytes, the backup's has {longest}"))
    }
}

impl Mode {
    fn empty() -> Self {
        Self::Hashing { hasher: Box::default(), hashed: 0 }
    }
}

fn out_of_order() -> Refusal {
    wrong(
        "its bytes come out of order, and it is not known yet of which backup it is; copy \
         manifest.json first",
    )
}

fn joined(keys: &[ObjectKey]) -> String {
    match keys {
        [] => "no such file".to_owned(),
        [first, ..] => {
            let more = keys.len().saturating_sub(1);
            if more == 0 { first.to_string() } else { format!("{first} or {more} others") }
        }
    }
}

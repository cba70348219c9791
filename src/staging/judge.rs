//! What a file is to its set.

use std::sync::Arc;

use super::candidates::Known;
use super::content::{Content, Fit, Wanted};
use super::draft::Draft;
use super::error::{Kind, Refusal};
use super::facts::{Asked, Need};
use super::names::{Depth, depth, meant};
use super::record::Record;
use super::set::Set;
use super::snapshot::{MANIFEST, SnapshotId};
use super::tree::{Body, FileId, Held, Standing, TOP};

/// Files that are compared with more objects than this are hashed and told apart at the end.
const MOST_RIVALS: usize = 16;
/// What went wrong behind the tools' backs is told so many times before somebody asks.
const MOST_FINDINGS: usize = 100;

/// What a name means in the set.
pub(super) struct Spot {
    /// Where it will be, below the snapshot's directory; none for a temporary name that hides it.
    pub(super) path: Option<String>,
    pub(super) temporary: bool,
    /// What it tells of where the snapshot's directory is.
    pub(super) depth: Option<Depth>,
}

/// What a file with that content is at that spot.
pub(super) enum Verdict {
    Is(Standing),
    Ask(Need),
    /// It can only be of these: go on with no others.
    Narrow(Vec<SnapshotId>),
    Bad(Standing, Refusal),
}

fn foreign(reason: String) -> Refusal {
    Refusal::new(Kind::Foreign, reason)
}

impl Set {
    /// What `name` in `parent` means.
    ///
    /// # Errors
    ///
    /// [`Kind::Foreign`] for a name that no snapshot has, or beside the one that is here.
    pub(super) fn spot(&self, parent: FileId, name: &str) -> Result<Spot, Refusal> {
        let from = self.root.unwrap_or(TOP);
        let Some(above) = self.tree.names(from, parent) else {
            return Err(foreign(format!(
                "the set here lies in {:?}, and this is beside it: remove one of the two first",
                self.tree.path(from)
            )));
        };
        let names: Vec<&str> = above.iter().map(Arc::as_ref).chain([name]).collect();
        let meant = meant(&names);
        let Some(path) = meant.path else {
            return Ok(Spot { path: None, temporary: true, depth: None });
        };
        let (depth, path) = match (self.root, depth(&path)) {
            (Some(_), _) => (None, path),
            (None, Some(Depth::Top)) => (Some(Depth::Top), path),
            (None, Some(Depth::Below)) => {
                let below = path.split_once('/').map(|(_, below)| below.to_owned());
                (Some(Depth::Below), below.unwrap_or(path))
            }
            (None, None) if meant.temporary => {
                return Ok(Spot { path: None, temporary: true, depth: None });
            }
            (None, None) => {
                return Err(foreign(format!(
                    "{path:?} is no file of a snapshot: copy one node's directory of a backup, \
                     as in cp -r backups/NAME/NODE restore/"
                )));
            }
        };
        Ok(Spot { path: Some(path), temporary: meant.temporary, depth })
    }

    pub(super) fn spot_of(&self, id: FileId) -> Result<Spot, Refusal> {
        let node = self.tree.node(id)?;
        let name = Arc::clone(&node.name);
        self.spot(node.parent, &name)
    }

    /// Refuses a name that is in none of the snapshots which the set can be.
    pub(super) fn check_name(&self, spot: &Spot) -> Result<(), Refusal> {
        let Some(path) = spot.path.as_ref().filter(|_| !spot.temporary) else {
            return Ok(());
        };
        let known = match self.candidates.known() {
            Known::One(_, contents) => contents.find(path).is_some(),
            Known::Few => self.candidates.loaded().any(|(_, files)| files.find(path).is_some()),
            Known::None => false,
            Known::Load(_) | Known::Many => true,
        };
        if known { Ok(()) } else { Err(self.stranger(path)) }
    }

    fn stranger(&self, path: &str) -> Refusal {
        foreign(format!("{path:?} is not in {}, which the set here is", self.candidates.describe()))
    }

    fn other_set(&self, path: &str, reason: &str) -> Refusal {
        let set = self.candidates.describe();
        let reason = format!(
            "{path:?} is not that of {set}: {reason}; to copy another backup, remove what is here \
             first"
        );
        Refusal::new(Kind::WrongBytes, reason)
    }

    /// Remembers where the snapshot's directory is, from the first file under its last name.
    pub(super) fn fix_root(&mut self, id: FileId, spot: &Spot) {
        if spot.temporary || self.root.is_some() {
            return;
        }
        self.root = match spot.depth {
            Some(Depth::Top) => Some(TOP),
            Some(Depth::Below) => {
                let first = self.tree.names(TOP, id).and_then(|names| names.first().cloned());
                first.and_then(|name| self.tree.child(TOP, &name).ok().flatten())
            }
            None => None,
        };
    }

    /// What a file may be, by its name, and whether that is all it may be.
    pub(super) fn expected(&self, id: FileId) -> Result<Asked<(Vec<Wanted>, bool)>, Refusal> {
        let spot = self.spot_of(id)?;
        let Some(path) = spot.path else { return Ok(Asked::Done((Vec::new(), false))) };
        if let Known::Load(snapshot) = self.candidates.known() {
            return Ok(Asked::Need(Need::Contents(snapshot)));
        }
        if matches!(self.candidates.known(), Known::Many) {
            return Ok(Asked::Done((Vec::new(), false)));
        }
        let mut wanted: Vec<Wanted> = Vec::new();
        for (_, contents) in self.candidates.loaded() {
            let found = contents.find(&path).and_then(|place| contents.at(place));
            if let Some((_, one)) = found {
                match wanted.iter_mut().find(|other| other.key == one.key) {
                    // One manifest records the hash, a later one that uses the object again not.
                    Some(same) if same.size == one.size => same.md5 = same.md5.or(one.md5),
                    _ => wanted.push(one),
                }
            }
        }
        if wanted.len() > MOST_RIVALS {
            return Ok(Asked::Done((Vec::new(), false)));
        }
        let exact = !spot.temporary;
        Ok(Asked::Done((wanted, exact)))
    }

    /// What a file is that has this content, at this spot. Changes nothing.
    pub(super) fn verdict(&self, spot: &Spot, content: &Content) -> Verdict {
        let Some(path) = &spot.path else { return Verdict::Is(Standing::Temporary) };
        let verdict = match self.candidates.known() {
            Known::One(id, contents) => {
                let of_manifest = path == MANIFEST && self.is_manifest_of(id, content);
                match contents.find(path).and_then(|place| Some((place, contents.at(place)?.1))) {
                    None => Verdict::Bad(Standing::Stranger, self.stranger(path)),
                    Some((place, _)) if of_manifest => proven(place),
                    Some((place, wanted)) => match content.fit(&wanted, &self.facts) {
                        Fit::Yes => proven(place),
                        Fit::Ask(need) => Verdict::Ask(need),
                        Fit::No(why) => Verdict::Bad(Standing::Wrong, self.other_set(path, &why)),
                    },
                }
            }
            Known::Few => self.among_few(path, content),
            Known::Load(id) => Verdict::Ask(Need::Contents(id)),
            Known::Many if path == MANIFEST => self.among_many(content),
            Known::Many => Verdict::Is(Standing::Open),
            Known::None => Verdict::Bad(Standing::Stranger, self.stranger(path)),
        };
        if !spot.temporary {
            return verdict;
        }
        match verdict {
            // Its close may wait; the rename to its last name holds the directory, and must not.
            Verdict::Ask(_) => verdict,
            Verdict::Bad(Standing::Wrong, _) if content.size > 0 => verdict,
            _ => Verdict::Is(Standing::Temporary),
        }
    }

    fn is_manifest_of(&self, id: &SnapshotId, content: &Content) -> bool {
        let md5 = content.md5;
        md5.and_then(|md5| self.facts.manifest(content.size, md5)).is_some_and(|of| of.contains(id))
    }

    fn among_few(&self, path: &str, content: &Content) -> Verdict {
        let (mut fitting, mut why) = (Vec::new(), None);
        for (id, contents) in self.candidates.loaded() {
            let found = contents.find(path).and_then(|place| contents.at(place));
            match found.map(|(_, wanted)| content.fit(&wanted, &self.facts)) {
                Some(Fit::Yes) => fitting.push(id.clone()),
                Some(Fit::Ask(need)) => return Verdict::Ask(need),
                Some(Fit::No(reason)) => why = why.or(Some(reason)),
                None => {}
            }
        }
        match (fitting.len(), why) {
            (0, None) => Verdict::Bad(Standing::Stranger, self.stranger(path)),
            (0, Some(why)) => Verdict::Bad(Standing::Wrong, self.other_set(path, &why)),
            _ if path == MANIFEST => Verdict::Narrow(self.best(fitting)),
            (some, _) if some < self.candidates.ids().count() => Verdict::Narrow(fitting),
            _ => Verdict::Is(Standing::Open),
        }
    }

    fn among_many(&self, content: &Content) -> Verdict {
        let Some(md5) = content.md5 else {
            let reason = "its bytes did not come in order, so that it cannot be told whose it is";
            let refusal = Refusal::new(Kind::WrongBytes, reason);
            return Verdict::Bad(Standing::Wrong, refusal);
        };
        let Some(of) = self.facts.manifest(content.size, md5) else {
            return Verdict::Ask(Need::Manifest { size: content.size, md5 });
        };
        let fitting: Vec<_> =
            self.candidates.ids().filter(|id| of.contains(*id)).cloned().collect();
        if fitting.is_empty() {
            let reason = format!("it is that of {}", self.candidates.describe());
            let reason = if of.is_empty() { "no backup in this store has it" } else { &reason };
            return Verdict::Bad(Standing::Wrong, self.other_set(MANIFEST, reason));
        }
        Verdict::Narrow(self.best(fitting))
    }

    /// Of snapshots with the very same files, the one that a directory's name or the target speaks
    /// for, else the first.
    fn best(&self, fitting: Vec<SnapshotId>) -> Vec<SnapshotId> {
        let around = self.root.and_then(|root| self.tree.node(root).ok());
        let around = around.map(|node| Arc::clone(&node.name)).unwrap_or_default();
        let speaks = |id: &SnapshotId| {
            (id.backup.as_str() == around.as_ref(), self.target.as_ref() == Some(&id.node))
        };
        let most = fitting.iter().map(speaks).max();
        fitting.into_iter().find(|id| Some(speaks(id)) == most).into_iter().collect()
    }

    /// Judges one file by what is known of it now.
    pub(super) fn judge(&mut self, id: FileId) -> Asked<Result<(), Refusal>> {
        let Ok(file) = self.tree.file_mut(id) else { return Asked::Done(Ok(())) };
        match &mut file.draft {
            Some(draft) if file.dirty => match draft.conclude(&self.facts) {
                Asked::Need(need) => return Asked::Need(need),
                Asked::Done(Ok(content)) => {
                    file.held = Held::Known(Box::new(content));
                    file.dirty = false;
                }
                Asked::Done(Err(reason)) => {
                    file.held = Held::Nothing;
                    file.dirty = false;
                    self.stand(id, Standing::Wrong);
                    return Asked::Done(Err(Refusal::new(Kind::WrongBytes, reason)));
                }
            },
            // It was made and closed: an empty file.
            _ if matches!(file.held, Held::Nothing) && file.standing == Standing::Blank => {
                file.held = Held::Known(Box::new(Content::EMPTY));
            }
            _ => {}
        }
        self.place(id)
    }

    /// Finds what a closed file is under its name.
    fn place(&mut self, id: FileId) -> Asked<Result<(), Refusal>> {
        loop {
            let Ok(node) = self.tree.node(id) else { return Asked::Done(Ok(())) };
            let Body::File(file) = &node.body else { return Asked::Done(Ok(())) };
            if !node.linked {
                return Asked::Done(Ok(()));
            }
            let content = self.content(file.held.as_known());
            let spot = self.spot_of(id);
            let known = spot.and_then(|spot| self.check_name(&spot).map(|()| spot));
            let spot = match known {
                Ok(spot) => spot,
                Err(refusal) => {
                    self.stand(id, Standing::Stranger);
                    return Asked::Done(Err(refusal));
                }
            };
            let Some(content) = content else {
                let wrong = if spot.temporary { Standing::Temporary } else { Standing::Wrong };
                self.stand(id, wrong);
                let reason = "nothing proves its bytes";
                return Asked::Done(Err(Refusal::new(Kind::WrongBytes, reason)));
            };
            match self.verdict(&spot, &content) {
                Verdict::Is(standing) => {
                    self.stand(id, standing);
                    return Asked::Done(Ok(()));
                }
                Verdict::Ask(need) => {
                    self.stand(id, Standing::Unproven);
                    return Asked::Need(need);
                }
                // Some tools close a file that they have made, and open it again to fill it.
                Verdict::Bad(Standing::Wrong, _) if content.size == 0 => {
                    self.stand(id, Standing::Blank);
                    return Asked::Done(Ok(()));
                }
                Verdict::Bad(standing, refusal) => {
                    self.stand(id, standing);
                    return Asked::Done(Err(refusal));
                }
                Verdict::Narrow(ids) => {
                    if !self.candidates.narrow(|candidate| ids.contains(candidate)) {
                        return Asked::Done(Err(self.other_set(&content.size.to_string(), "")));
                    }
                    self.notice_resolution();
                }
            }
        }
    }

    /// Says what a file is, and keeps the counts and the journal in step.
    pub(super) fn stand(&mut self, id: FileId, standing: Standing) {
        let path = self.tree.path(id);
        let anew = self.written_anew(id, standing);
        let Ok(node) = self.tree.node_mut(id) else { return };
        let linked = node.linked;
        let Body::File(file) = &mut node.body else { return };
        let before = std::mem::replace(&mut file.standing, standing);
        let is_lost = linked && matches!(before, Standing::Proven(_)) && before != standing;
        self.losses = self.losses.saturating_add(u64::from(is_lost));
        if let Standing::Proven(place) = standing {
            file.held = anew.unwrap_or(Held::Placed(place));
        }
        let in_place = linked && matches!(standing, Standing::Open | Standing::Proven(_));
        let record = match (in_place, file.recorded) {
            (true, false) => true,
            (false, true) => {
                self.records.push(Record::Gone { path: path.clone() });
                false
            }
            _ => false,
        };
        file.recorded = in_place;
        if linked {
            self.count(before, false);
            self.count(standing, true);
        }
        if record
            && let Ok(file) = self.tree.file(id)
            && let Some(content) = self.content(file.held.as_known())
        {
            self.records.push(Record::Placed { path, content });
        }
    }

    /// What a file is that counts as the one at its place, and is not as the manifest says.
    fn written_anew(&self, id: FileId, standing: Standing) -> Option<Held> {
        let Standing::Proven(place) = standing else { return None };
        let Held::Known(content) = &self.tree.file(id).ok()?.held else { return None };
        let wanted = self.wanted_at(place).filter(|wanted| wanted.may_be_written_anew)?;
        let (size, md5) = (content.size, content.md5);
        let as_stored = Content { size, md5, object: Some(wanted.key) };
        (size != wanted.size).then(|| Held::Known(Box::new(as_stored)))
    }

    pub(super) fn count(&mut self, standing: Standing, more: bool) {
        let count = match standing {
            Standing::Proven(_) => &mut self.counts.proven,
            Standing::Unproven => &mut self.counts.unproven,
            Standing::Wrong => &mut self.counts.wrong,
            Standing::Stranger => &mut self.counts.strangers,
            Standing::Blank | Standing::Temporary | Standing::Open => return,
        };
        *count = if more { count.saturating_add(1) } else { count.saturating_sub(1) };
    }

    /// Once it is known which snapshot the set is, every file is judged anew.
    pub(super) fn notice_resolution(&mut self) {
        let Some(id) = self.candidates.only().cloned() else { return };
        if self.resolved || self.candidates.one().is_none() {
            return;
        }
        self.resolved = true;
        self.records.push(Record::Of(id));
        let undecided = |id: &FileId| {
            let file = self.tree.file(*id);
            file.is_ok_and(|f| !matches!(f.standing, Standing::Temporary | Standing::Proven(_)))
        };
        let undecided: Vec<_> = self.tree.files_below(TOP).into_iter().filter(undecided).collect();
        self.pending.extend(undecided);
    }

    /// Judges all that is pending, as far as that goes without asking.
    pub(super) fn settle(&mut self) -> Option<Need> {
        while let Some(id) = self.pending.first().copied() {
            let being_written = self.tree.file(id).is_ok_and(|file| file.writers > 0 && file.dirty);
            if !being_written {
                match self.judge(id) {
                    Asked::Need(need) => {
                        self.stand(id, Standing::Unproven);
                        return Some(need);
                    }
                    Asked::Done(Ok(())) => {}
                    Asked::Done(Err(refusal)) if self.findings.len() < MOST_FINDINGS => {
                        self.findings.push((self.tree.path(id), refusal.reason));
                    }
                    Asked::Done(Err(_)) => {}
                }
            }
            self.pending.remove(&id);
            self.drop_draft(id);
        }
        None
    }

    /// A draft that was judged is done with when nobody has it open. What was found wrong keeps
    /// its own: a tool may go on where it was stopped.
    pub(super) fn drop_draft(&mut self, id: FileId) {
        if let Ok(file) = self.tree.file_mut(id)
            && file.writers == 0
            && !file.dirty
            && !matches!(file.held, Held::Nothing)
        {
            file.draft = None;
        }
    }

    /// The draft of a file, made when its first byte comes.
    pub(super) fn begin_draft(&mut self, id: FileId) -> Result<Asked<()>, Refusal> {
        if self.tree.file(id)?.draft.is_some() {
            return Ok(Asked::Done(()));
        }
        let (expected, exact) = match self.expected(id)? {
            Asked::Done(expected) => expected,
            Asked::Need(need) => return Ok(Asked::Need(need)),
        };
        let content = self.content(self.tree.file(id)?.held.as_known());
        let draft = match content {
            Some(content) => Draft::of(&content, expected, exact),
            None => Draft::new(expected, exact),
        };
        self.tree.file_mut(id)?.draft = Some(Box::new(draft));
        Ok(Asked::Done(()))
    }
}

fn proven(place: usize) -> Verdict {
    u32::try_from(place).map_or_else(
        |_| {
            let refusal = Refusal::new(Kind::Full, "no snapshot has so many files");
            Verdict::Bad(Standing::Stranger, refusal)
        },
        |place| Verdict::Is(Standing::Proven(place)),
    )
}

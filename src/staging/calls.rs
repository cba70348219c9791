//! What tools do to the names and bytes of a set.

use crate::model::ObjectKey;

use super::candidates::{Candidates, may_hold};
use super::content::Content;
use super::error::{Kind, Refusal};
use super::facts::Asked;
use super::judge::Verdict;
use super::record::Record;
use super::set::Set;
use super::snapshot::Source;
use super::tree::{Body, FileId, Held, Staged, Standing, TOP};

/// `ANY/KEYSPACE/TABLE/.INDEX`, and a directory in which rsync keeps files until they are whole.
const MOST_DEPTH: usize = 5;

/// What a change of a file's bytes would answer.
type Change<T> = Result<Asked<T>, Refusal>;

impl Set {
    /// Makes a directory. Which ones a snapshot has is not asked: empty ones do no harm.
    pub fn mkdir(&mut self, parent: FileId, name: &str) -> Result<FileId, Refusal> {
        let depth = self.tree.names(TOP, parent).map_or(0, |names| names.len());
        if depth >= MOST_DEPTH {
            let reason =
                "no snapshot has directories so deep: copy one node's directory of a backup";
            return Err(Refusal::new(Kind::Foreign, reason));
        }
        self.tree.add(parent, name, Body::Directory(std::collections::BTreeMap::new()))
    }

    /// Makes a file and opens it for writing.
    pub fn create(&mut self, parent: FileId, name: &str) -> Result<FileId, Refusal> {
        let id = self.add_file(parent, name, Staged::default())?;
        self.open_for_writing(id)?;
        Ok(id)
    }

    fn add_file(&mut self, parent: FileId, name: &str, file: Staged) -> Result<FileId, Refusal> {
        if self.tree.child(parent, name)?.is_some() {
            return Err(Refusal::new(Kind::Exists, format!("{name:?} is there already")));
        }
        let spot = self.spot(parent, name)?;
        self.check_name(&spot)?;
        let id = self.tree.add(parent, name, Body::File(file))?;
        self.counts.files = self.counts.files.saturating_add(1);
        self.fix_root(id, &spot);
        Ok(id)
    }

    /// Opens a file for writing, as it is. Each needs a [`Set::release`].
    pub fn open_for_writing(&mut self, id: FileId) -> Result<(), Refusal> {
        let file = self.tree.file_mut(id)?;
        file.writers = file.writers.saturating_add(1);
        self.counts.writers = self.counts.writers.saturating_add(1);
        Ok(())
    }

    /// Takes bytes at an offset. If the answer is [`super::Need::Compare`], the next call says in
    /// `equal` which of the objects asked for have just these bytes there.
    pub fn write(
        &mut self,
        id: FileId,
        offset: u64,
        data: &[u8],
        equal: Option<&[ObjectKey]>,
    ) -> Change<()> {
        if let Asked::Need(need) = self.begin_draft(id)? {
            return Ok(Asked::Need(need));
        }
        let draft = self.tree.file_mut(id)?.draft.as_mut().ok_or_else(Refusal::gone)?;
        let answer = draft.write(offset, data, equal, &self.facts)?;
        if answer == Asked::Done(()) && !data.is_empty() {
            self.changed(id)?;
        }
        Ok(answer)
    }

    /// Takes a range of a stored object, as much of `len` as it has, and answers how much that is.
    pub fn copy(
        &mut self,
        id: FileId,
        source: &Source,
        from: u64,
        to: u64,
        len: u64,
    ) -> Change<u64> {
        self.check_source(source)?;
        if let Asked::Need(need) = self.begin_draft(id)? {
            return Ok(Asked::Need(need));
        }
        let draft = self.tree.file_mut(id)?.draft.as_mut().ok_or_else(Refusal::gone)?;
        let answer = draft.copy(source, from, to, len, &self.facts)?;
        if matches!(answer, Asked::Done(taken) if taken > 0) {
            self.changed(id)?;
            self.narrow_to(source);
        }
        Ok(answer)
    }

    fn check_source(&self, source: &Source) -> Result<(), Refusal> {
        if self.candidates.ids().any(|id| may_hold(id, source)) {
            return Ok(());
        }
        let set = self.candidates.describe();
        Err(Refusal::new(
            Kind::WrongBytes,
            format!(
                "the stored {} is not of {set}, which the set here is; to copy another backup, \
                 remove what is here first",
                source.key
            ),
        ))
    }

    fn narrow_to(&mut self, source: &Source) {
        if self.candidates.narrow(|id| may_hold(id, source)) {
            self.notice_resolution();
        }
    }

    /// Sets a file's length.
    pub fn truncate(&mut self, id: FileId, size: u64) -> Change<()> {
        if size == 0 {
            self.empty(id)?;
            return Ok(Asked::Done(()));
        }
        if let Asked::Need(need) = self.begin_draft(id)? {
            return Ok(Asked::Need(need));
        }
        let draft = self.tree.file_mut(id)?.draft.as_mut().ok_or_else(Refusal::gone)?;
        if draft.size() == size {
            return Ok(Asked::Done(()));
        }
        let answer = draft.truncate(size, &self.facts)?;
        if answer == Asked::Done(()) {
            self.changed(id)?;
            self.judge_if_closed(id)?;
        }
        Ok(answer)
    }

    /// What comes after this is new: it is judged by the name that the file has then.
    fn empty(&mut self, id: FileId) -> Result<(), Refusal> {
        let file = self.tree.file_mut(id)?;
        file.draft = None;
        file.dirty = false;
        file.held = Held::Known(Box::new(Content::EMPTY));
        self.stand(id, Standing::Blank);
        self.judge_if_closed(id)
    }

    /// `truncate` needs no open file, so that no close may follow it.
    fn judge_if_closed(&mut self, id: FileId) -> Result<(), Refusal> {
        if self.tree.file(id)?.writers == 0 && self.tree.node(id)?.linked {
            self.pending.insert(id);
        }
        Ok(())
    }

    fn changed(&mut self, id: FileId) -> Result<(), Refusal> {
        let file = self.tree.file_mut(id)?;
        file.dirty = true;
        file.held = Held::Nothing;
        self.stand(id, Standing::Blank);
        Ok(())
    }

    /// Remembers the time of change that a tool sets, so that it finds it again.
    pub fn set_modified(&mut self, id: FileId, modified: (i64, u32)) -> Result<(), Refusal> {
        self.tree.node_mut(id)?.modified = modified;
        Ok(())
    }

    /// The verdict on a file as it is now: what `close` tells the tool.
    ///
    /// # Errors
    ///
    /// [`Kind::WrongBytes`] and [`Kind::Foreign`], for what is not of the backup. A file without
    /// any byte is never refused: a shell closes its own handle of one that it has just made.
    pub fn flush(&mut self, id: FileId) -> Change<()> {
        match self.judge(id) {
            Asked::Need(need) => Ok(Asked::Need(need)),
            Asked::Done(verdict) => verdict.map(Asked::Done),
        }
    }

    /// One handle that was open for writing is closed. What could not be judged is pending.
    pub fn release(&mut self, id: FileId) {
        let Ok(node) = self.tree.node_mut(id) else { return };
        let linked = node.linked;
        let Body::File(file) = &mut node.body else { return };
        if file.writers == 0 {
            return;
        }
        file.writers -= 1;
        let last = file.writers == 0;
        self.counts.writers = self.counts.writers.saturating_sub(1);
        if !last {
            return;
        }
        if linked {
            if let Asked::Need(_) = self.judge(id) {
                self.stand(id, Standing::Unproven);
                self.pending.insert(id);
            }
            self.drop_draft(id);
        } else {
            self.tree.forget(id);
        }
    }

    /// Makes a name for a stored object.
    pub fn link_object(
        &mut self,
        source: &Source,
        parent: FileId,
        name: &str,
    ) -> Result<FileId, Refusal> {
        self.check_source(source)?;
        let spot = self.spot(parent, name)?;
        self.check_name(&spot)?;
        // Where it lies tells more of whose it is than its content does.
        self.narrow_to(source);
        let object = (source.size > 0).then(|| source.key.clone());
        let made = self.link(Content { size: source.size, md5: None, object }, parent, name);
        if made.is_err() {
            self.begin_anew_if_empty();
        }
        made
    }

    /// Makes a second name for a file of the set.
    pub fn link_staged(
        &mut self,
        of: FileId,
        parent: FileId,
        name: &str,
    ) -> Result<FileId, Refusal> {
        let file = self.tree.file(of)?;
        let content = self.content(file.held.as_known()).filter(|_| !file.dirty);
        let Some(content) = content else {
            let reason = "it is still being written; link it when it is closed";
            return Err(Refusal::new(Kind::NotPermitted, reason));
        };
        self.link(content, parent, name)
    }

    fn link(&mut self, content: Content, parent: FileId, name: &str) -> Result<FileId, Refusal> {
        let spot = self.spot(parent, name)?;
        if let Verdict::Bad(_, refusal) = self.verdict(&spot, &content) {
            return Err(refusal);
        }
        let held = Held::Known(Box::new(content));
        let id = self.add_file(parent, name, Staged { held, ..Staged::default() })?;
        self.judge_later(id);
        Ok(id)
    }

    /// Judges a closed file now if nothing has to be asked: who makes or moves a name holds its
    /// directory, and must not wait.
    fn judge_later(&mut self, id: FileId) {
        match self.judge(id) {
            Asked::Need(_) => {
                self.stand(id, Standing::Unproven);
                self.pending.insert(id);
            }
            Asked::Done(_) => self.drop_draft(id),
        }
    }

    /// Gives a file or directory another name; a file that has the new one is replaced, unless
    /// `keep_existing`.
    pub fn rename(
        &mut self,
        (parent, name): (FileId, &str),
        (new_parent, new_name): (FileId, &str),
        keep_existing: bool,
    ) -> Result<(), Refusal> {
        let id = self.tree.child(parent, name)?.ok_or_else(Refusal::gone)?;
        let there = self.tree.child(new_parent, new_name)?;
        if there == Some(id) {
            return Ok(());
        }
        if there.is_some() && keep_existing {
            return Err(Refusal::new(Kind::Exists, format!("{new_name:?} is there already")));
        }
        if !self.tree.node(new_parent)?.linked {
            return Err(Refusal::gone());
        }
        if matches!(self.tree.node(id)?.body, Body::Directory(_)) {
            return self.rename_directory(id, there, new_parent, new_name);
        }
        let spot = self.spot(new_parent, new_name)?;
        self.check_name(&spot)?;
        let file = self.tree.file(id)?;
        if let Some(content) = self.content(file.held.as_known()).filter(|c| c.size > 0)
            && let Verdict::Bad(_, refusal) = self.verdict(&spot, &content)
        {
            return Err(refusal);
        }
        if let Some(there) = there {
            self.tree.file(there)?;
            self.drop_name(there);
        }
        self.move_files(id, new_parent, new_name)?;
        self.fix_root(id, &spot);
        Ok(())
    }

    fn rename_directory(
        &mut self,
        id: FileId,
        there: Option<FileId>,
        new_parent: FileId,
        new_name: &str,
    ) -> Result<(), Refusal> {
        let into_itself = self.tree.names(id, new_parent).is_some();
        if into_itself {
            let reason = "a directory cannot be moved into itself";
            return Err(Refusal::new(Kind::Unsupported, reason));
        }
        if let Some(there) = there {
            self.remove_directory(there)?;
        }
        self.move_files(id, new_parent, new_name)
    }

    fn move_files(&mut self, id: FileId, parent: FileId, name: &str) -> Result<(), Refusal> {
        let files = self.tree.files_below(id);
        for file in &files {
            let path = self.tree.path(*file);
            let staged = self.tree.file_mut(*file)?;
            if std::mem::take(&mut staged.recorded) {
                self.records.push(Record::Gone { path });
            }
        }
        self.tree.put(id, parent, name)?;
        for id in files {
            let file = self.tree.file_mut(id)?;
            match &mut file.draft {
                Some(draft) if file.dirty => draft.rename(),
                _ => self.judge_later(id),
            }
        }
        Ok(())
    }

    /// Takes a file's name off.
    pub fn unlink(&mut self, parent: FileId, name: &str) -> Result<(), Refusal> {
        let id = self.tree.child(parent, name)?.ok_or_else(Refusal::gone)?;
        self.tree.file(id)?;
        self.drop_name(id);
        Ok(())
    }

    /// Removes an empty directory.
    pub fn rmdir(&mut self, parent: FileId, name: &str) -> Result<(), Refusal> {
        let id = self.tree.child(parent, name)?.ok_or_else(Refusal::gone)?;
        self.remove_directory(id)
    }

    fn remove_directory(&mut self, id: FileId) -> Result<(), Refusal> {
        if !self.tree.children(id)?.is_empty() {
            return Err(Refusal::new(Kind::NotEmpty, "the directory is not empty"));
        }
        self.tree.unlink(id)?;
        self.tree.forget(id);
        if self.root == Some(id) {
            self.root = None;
        }
        Ok(())
    }

    /// Takes a file's name off; with the last file, the set can be of any backup again.
    pub(super) fn drop_name(&mut self, id: FileId) {
        let Ok(file) = self.tree.file(id) else { return };
        let (writers, recorded, standing) = (file.writers, file.recorded, file.standing);
        if recorded {
            self.records.push(Record::Gone { path: self.tree.path(id) });
        }
        self.count(standing, false);
        if matches!(standing, Standing::Proven(_)) {
            self.losses = self.losses.saturating_add(1);
        }
        self.pending.remove(&id);
        if self.tree.unlink(id).is_ok() {
            self.counts.files = self.counts.files.saturating_sub(1);
        }
        if let Ok(file) = self.tree.file_mut(id) {
            file.recorded = false;
            file.standing = Standing::Blank;
        }
        if writers == 0 {
            self.tree.forget(id);
        }
        self.begin_anew_if_empty();
    }

    fn begin_anew_if_empty(&mut self) {
        if self.counts.files == 0 {
            self.root = None;
            self.resolved = false;
            self.candidates = Candidates::new(self.snapshots.clone());
        }
    }

    /// Puts a file where a journal says it was.
    pub(super) fn replay(&mut self, path: &str, content: &Content) {
        if let Some(id) = self.find(path) {
            self.drop_name(id);
        }
        let mut at = TOP;
        let mut names = path.split('/').peekable();
        while let Some(name) = names.next() {
            let made = match (names.peek().is_some(), self.tree.child(at, name)) {
                (true, Ok(Some(id))) => Ok(id),
                (true, _) => self.mkdir(at, name),
                (false, _) => {
                    let held = Held::Known(Box::new(content.clone()));
                    self.add_file(at, name, Staged { held, recorded: true, ..Staged::default() })
                }
            };
            match made {
                Ok(id) => at = id,
                Err(_refused) => return,
            }
        }
        self.stand(at, Standing::Unproven);
        self.pending.insert(at);
    }
}

//! Every call that would change something: below `restore/` and `import/` it goes to those who
//! keep what is copied in, elsewhere it is refused at once.

use std::ffi::OsStr;
use std::ffi::OsString;

use crate::medusa::MetaFile;
use crate::model::BackupName;
use crate::view::Ino;
use crate::view::Known;
use crate::view::StagedId;
use crate::view::ViewPath;

use super::Caller;
use super::CopySource;
use super::Created;
use super::Found;
use super::FsError;
use super::Handle;
use super::MedusaFs;
use super::SetAttributes;
use super::StagedParent;
use super::StoredSource;
use super::lookup::staged_parent;
use super::medusa_fs::name_of;
use super::open::OpenFile;
use super::open::never_written;

impl MedusaFs {
    /// Makes a file and opens it.
    pub async fn create(
        &self,
        caller: Caller,
        parent: Ino,
        name: &OsStr,
        mode: u32,
        exclusive: bool,
    ) -> Result<Created, FsError> {
        let make = async {
            let (staged, name) = self.copied_into(caller, parent, name).await?;
            let (entry, handle) =
                self.copy_in.create(caller, &staged, name, mode, exclusive).await?;
            let handle = self.opened_staged(handle, entry.id).await?;
            Ok(Created { found: self.find_staged(&entry), handle })
        };
        let made = make.await;
        self.told(caller, "create", || self.shown_path(parent, name), made)
    }

    /// Makes a symbolic link.
    pub async fn symlink(
        &self,
        caller: Caller,
        parent: Ino,
        name: &OsStr,
        target: OsString,
    ) -> Result<Found, FsError> {
        let make = async {
            let (staged, name) = self.copied_into(caller, parent, name).await?;
            let entry = self.copy_in.symlink(caller, &staged, name, target).await?;
            Ok(self.find_staged(&entry))
        };
        let made = make.await;
        self.told(caller, "symlink", || self.shown_path(parent, name), made)
    }

    /// Makes a hard link.
    pub async fn link(
        &self,
        caller: Caller,
        ino: Ino,
        parent: Ino,
        name: &OsStr,
    ) -> Result<Found, FsError> {
        let make = async {
            let (staged, name) = self.copied_into(caller, parent, name).await?;
            let source = self.source(ino).await?;
            let entry = self.copy_in.link(caller, source, &staged, name).await?;
            Ok(self.find_staged(&entry))
        };
        let made = make.await;
        self.told(caller, "link", || self.shown_path(parent, name), made)
    }

    /// Makes a device, a pipe or a socket: nobody does.
    pub async fn mknod(&self, caller: Caller, parent: Ino, name: &OsStr) -> Result<Found, FsError> {
        let directory = self.path_of(parent)?;
        let error = match staged_parent(&directory) {
            Some(_) => FsError::NotPermitted("no snapshot holds such a thing".to_owned()),
            None => self.refused_below(caller, &directory).await,
        };
        self.told(caller, "mknod", || self.shown_path(parent, name), Err(error))
    }

    /// Gives something another name.
    pub async fn rename(
        &self,
        caller: Caller,
        from: (Ino, &OsStr),
        to: (Ino, &OsStr),
        replace: bool,
    ) -> Result<(), FsError> {
        let rename = async {
            let (from_path, to_path) = (self.path_of(from.0)?, self.path_of(to.0)?);
            match (staged_parent(&from_path), staged_parent(&to_path)) {
                (Some(from_parent), Some(to_parent)) => {
                    self.may_copy_in(caller)?;
                    self.restores_here()?;
                    let (old, new) = (name_of(from.1)?, name_of(to.1)?);
                    let (old, new) = ((&from_parent, old), (&to_parent, new));
                    self.copy_in.rename(caller, old, new, replace).await
                }
                // EXDEV would make `mv` copy, and then remove what it has copied from.
                (None, _) => Err(FsError::NotPermitted(
                    "what is stored keeps its name and its place: copy it, out of the mount or \
                     into restore/"
                        .to_owned(),
                )),
                (Some(_), None) => Err(FsError::NotPermitted(format!(
                    "what is copied into {from_path} is not moved to {to_path}: remove it"
                ))),
            }
        };
        let renamed = rename.await;
        self.told(caller, "rename", || self.shown_path(from.0, from.1), renamed)
    }

    /// Takes a file away.
    pub async fn unlink(&self, caller: Caller, parent: Ino, name: &OsStr) -> Result<(), FsError> {
        let remove = async {
            match staged_parent(&self.path_of(parent)?) {
                Some(staged) => {
                    self.may_copy_in(caller)?;
                    self.copy_in.unlink(caller, &staged, name_of(name)?).await
                }
                None => Err(FsError::ReadOnly(
                    "files are not removed one by one: `rmdir` removes a failed backup whole"
                        .to_owned(),
                )),
            }
        };
        let removed = remove.await;
        self.told(caller, "unlink", || self.shown_path(parent, name), removed)
    }

    /// Takes a directory away: a failed backup that published nothing, or what was copied in.
    pub async fn rmdir(&self, caller: Caller, parent: Ino, name: &OsStr) -> Result<(), FsError> {
        let remove = async {
            let directory = self.path_of(parent)?;
            let name = name_of(name)?;
            match (&directory, staged_parent(&directory)) {
                (_, Some(staged)) => {
                    self.may_copy_in(caller)?;
                    self.copy_in.rmdir(caller, &staged, name).await
                }
                (ViewPath::Backups, None) => self.remove_backup(caller, name).await,
                (ViewPath::Node(_), None) => self.remove_backup(caller, name).await,
                _ => Err(FsError::ReadOnly(
                    "directories are not removed one by one: `rmdir` removes a failed backup whole"
                        .to_owned(),
                )),
            }
        };
        let removed = remove.await;
        self.told(caller, "rmdir", || self.shown_path(parent, name), removed)
    }

    async fn remove_backup(&self, caller: Caller, name: &str) -> Result<(), FsError> {
        let world = self.world();
        let name = BackupName::parse(name).map_err(|_invalid| FsError::NotFound)?;
        let Some(report) = world.report_of_backup(&name) else { return Err(FsError::NotFound) };
        if report.state().wait() == crate::view::Wait::GoesOn {
            return Err(FsError::Busy(format!(
                "the backup {name} is being made: write 1 to backups/{name}/.medusa/cancel first"
            )));
        }
        if world.stored(&name).is_some() {
            return Err(FsError::NotPermitted(format!(
                "the backup {name} is in the store, and this mount does not delete what is there"
            )));
        }
        let rights = self.settings.rights;
        let may = self.is_owner(caller)
            || caller.is_root_or_of(rights.delete_group)
            || caller.is_root_or_of(rights.backup_group);
        if !may {
            return Err(FsError::Denied(
                "only root, backup_group and delete_group may remove a failed backup".to_owned(),
            ));
        }
        let Some(job) = report.job else { return Err(FsError::NotFound) };
        self.begun.lock().withdraw(&job);
        tracing::info!(
            uid = caller.uid, pid = caller.pid, program = %caller.program(), backup = %name, %job,
            "removed"
        );
        self.on_disk("for a job to be removed", move |doing| doing.forget(&job)).await
    }

    /// Sets modes, times, owners, sizes: accepted of what is copied in and of what one writes to.
    pub async fn setattr(
        &self,
        caller: Caller,
        ino: Ino,
        set: SetAttributes,
    ) -> Result<Found, FsError> {
        let change = async {
            match self.known(ino)? {
                Known::Path(ViewPath::Staged(id)) => {
                    let entry = self.copy_in.set_attributes(caller, id, set).await?;
                    let attr = super::stat::staged_attr(ino, &entry);
                    let nothing = std::time::Duration::ZERO;
                    let believe = super::Believe { name: nothing, attributes: nothing };
                    Ok(Found { attr, believe })
                }
                // `cp -r` sets what it has copied; `echo 1 >` cuts the file off first.
                Known::Path(ViewPath::AreaNode(..)) => self.getattr(caller, ino).await,
                Known::Path(ViewPath::ControlFile(_, file))
                    if file.access() == crate::view::Access::Verb
                        && set == (SetAttributes { size: Some(0), ..set })
                        && set.mode.is_none() =>
                {
                    self.getattr(caller, ino).await
                }
                Known::Path(_) | Known::File(..) => Err(FsError::ReadOnly(
                    "modes, owners, times and sizes are what they are here: nothing sets them"
                        .to_owned(),
                )),
            }
        };
        let changed = change.await;
        self.told(caller, "setattr", || self.shown_ino(ino), changed)
    }

    /// Copies by name: `copy_file_range(2)`. Returns how many bytes were taken.
    pub async fn copy_range(
        &self,
        caller: Caller,
        from: (Ino, u64),
        to: (Handle, u64),
        size: u64,
    ) -> Result<u32, FsError> {
        let copy = async {
            let open = self.files.get(to.0)?;
            let OpenFile::Staged(staged, _) = &*open else { return Err(never_written()) };
            let source = self.source(from.0).await?;
            // A reply counts in 32 bits.
            let size = size.min(u64::from(u32::MAX));
            let copied = self.copy_in.copy_range(source, from.1, *staged, to.1, size).await?;
            Ok(u32::try_from(copied).unwrap_or(u32::MAX))
        };
        let copied = copy.await;
        self.told(caller, "copy_file_range", || self.shown_ino(from.0), copied)
    }

    /// What is copied or linked from. EINVAL for what has no bytes of its own: `cp` then reads.
    async fn source(&self, ino: Ino) -> Result<CopySource, FsError> {
        match self.known(ino)? {
            Known::Path(ViewPath::Staged(StagedId(id))) => Ok(CopySource::Staged(StagedId(id))),
            Known::Path(ViewPath::Meta(of, file)) => {
                let object = self.meta_object(&of, file).await?;
                Ok(CopySource::Stored(StoredSource {
                    key: object.key,
                    size: object.size,
                    seen_in: of,
                    path: MetaFile::name(file).into(),
                }))
            }
            Known::Path(path) => Err(FsError::Invalid(format!("{path} is no stored file"))),
            Known::File(directory, place) => {
                let (files, place) = self.stored_file(ino, &directory, place).await?;
                let gone = || FsError::Stale(format!("{directory} has other files now"));
                let file = files.at(place).ok_or_else(gone)?;
                let key = file.key();
                let other_size = if file.may_be_written_anew() {
                    self.facts_of_one(&files, place).await?.other_size
                } else {
                    None
                };
                let of = files.directory();
                let path = format!("{}/{}/{}", of.keyspace, of.table, file.path());
                Ok(CopySource::Stored(StoredSource {
                    size: other_size.unwrap_or(file.size()),
                    seen_in: of.of.clone(),
                    path: path.into(),
                    key,
                }))
            }
        }
    }

    /// The directory into which something is copied, and the name; why not, if it is none.
    async fn copied_into<'a>(
        &self,
        caller: Caller,
        parent: Ino,
        name: &'a OsStr,
    ) -> Result<(StagedParent, &'a str), FsError> {
        let directory = self.path_of(parent)?;
        let Some(staged) = staged_parent(&directory) else {
            return Err(self.refused_below(caller, &directory).await);
        };
        self.may_copy_in(caller)?;
        self.restores_here()?;
        let name = name_of(name).map_err(|error| match error {
            FsError::NotFound => FsError::Invalid("no stored file has such a name".to_owned()),
            other => other,
        })?;
        Ok((staged, name))
    }
}

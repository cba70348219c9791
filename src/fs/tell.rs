//! What is written to control files.

use crate::model::JobId;
use crate::view::ControlFile;
use crate::view::Owner;
use crate::view::Wait;

use super::Caller;
use super::FsError;
use super::MedusaFs;
use super::texts::set_parent;

/// No plan's ID and no backup's name is longer.
const LONGEST: usize = 4096;

impl MedusaFs {
    /// Whether this caller may write to the files of a `.medusa/`.
    pub(super) fn may_tell(&self, caller: Caller, owner: &Owner) -> Result<(), FsError> {
        let rights = self.settings.rights;
        let group = match owner {
            Owner::Root => None,
            Owner::Backup(_) | Owner::NodeBackup(_) | Owner::Node(_) => rights.backup_group,
            Owner::Area(_) | Owner::AreaNode(..) | Owner::Staged(_) => rights.restore_group,
        };
        if self.is_owner(caller) || caller.is_root_or_of(group) {
            return Ok(());
        }
        Err(FsError::Denied("only root and the group whose verb it is may write here".to_owned()))
    }

    /// Does what was written: the effect comes with the write.
    pub(super) async fn tell(
        &self,
        caller: Caller,
        owner: &Owner,
        file: ControlFile,
        bytes: &[u8],
    ) -> Result<(), FsError> {
        self.may_tell(caller, owner)?;
        let wrong = || FsError::Invalid(format!("that is nothing to write to {}", file.name()));
        if bytes.len() > LONGEST {
            return Err(wrong());
        }
        let value = std::str::from_utf8(bytes).map_err(|_invalid| wrong())?.trim();
        let is_switch = !matches!(file, ControlFile::Commit | ControlFile::Source);
        if value.is_empty() || (is_switch && value != "1") {
            return Err(FsError::Invalid(if is_switch {
                format!("one writes 1 to {}", file.name())
            } else {
                format!("nothing was written to {}", file.name())
            }));
        }
        tracing::info!(
            uid = caller.uid, pid = caller.pid, program = %caller.program(),
            of = %owner.directory(), file = file.name(), value, "told"
        );
        if let Some(parent) = set_parent(owner) {
            if file == ControlFile::Commit {
                self.restores_here()?;
            }
            return self.copy_in.told(caller, &parent, file, value).await;
        }
        match file {
            ControlFile::Cancel => self.cancel(caller, owner).await,
            _ => Err(FsError::Unsupported(format!(
                "this release of medusafs does not know how to {} a backup yet",
                file.name()
            ))),
        }
    }

    async fn cancel(&self, caller: Caller, owner: &Owner) -> Result<(), FsError> {
        let job = self.running_job(owner)?;
        let why = format!("cancelled by uid {} through the mount", caller.uid);
        self.on_disk("for a job to be cancelled", move |doing| doing.cancel(&job, &why)).await
    }

    fn running_job(&self, owner: &Owner) -> Result<JobId, FsError> {
        let report = self.report(&self.world(), owner);
        let running = report.filter(|report| report.state().wait() == Wait::GoesOn);
        running.and_then(|report| report.job).ok_or_else(|| {
            FsError::Invalid(format!("nothing is being done to {}", owner.directory()))
        })
    }
}

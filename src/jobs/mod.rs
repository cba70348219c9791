//! Work that outlives the call that asked for it: a process a job, a folder a job.
//!
//! Whoever asks makes the folder `state_dir/jobs/ID/` and starts `medusafs job ID`, which writes
//! there how far it is. Mount, command line and job meet nowhere else, so that each may be killed:
//!
//! | file | written by | holds |
//! |---|---|---|
//! | `request.json` | who asked, once | what to do, for whom, by which configuration; no secrets |
//! | `status.json` | the job | a [`JobStatus`](crate::model::JobStatus), replaced whole |
//! | `journal` | the job | what it has begun and finished, line by line, synced |
//! | `log`, `error`, `plan` | the job | text for people |
//! | `lock` | the job | locked for as long as its process lives |
//! | `control/cancel`, `commit`, `set`, `wish` | anybody with the right | what a person wants of it |

mod backup;
mod begin;
mod board;
mod context;
mod control;
mod error;
mod folder;
mod job_error;
mod journal;
mod lease;
mod replace;
mod request;
mod restore;
mod run;
mod seen;
mod survey;
mod tidy;
mod unsettled;

pub use begin::Jobs;
pub use board::Board;
pub use control::Control;
pub use error::JobsError;
pub use folder::{Folder, Held};
pub use journal::{Journal, Record};
pub use request::{AskedBy, BackupRequest, ConfigFrom, JobRequest, RestoreRequest, Work};
pub use run::{JobProcess, run_job};

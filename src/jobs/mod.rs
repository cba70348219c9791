//! Work that outlives the call that asked for it: a process a job, a folder a job.

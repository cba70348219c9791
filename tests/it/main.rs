//! Every integration test, in one program: it links once.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod agent;
mod cassandra;
mod catalog;
mod commands;
mod config;
mod damage;
mod fs_backups;
mod fs_copy_in;
mod fs_copy_in_restart;
mod fs_copy_in_take_back;
mod fs_semantics;
mod fs_share;
mod fs_shared_files;
mod fs_tree;
mod fs_verbs;
mod job_ends;
mod lab_backup;
mod lab_cassandra;
mod lab_mount;
mod lab_restore;
mod layering;
mod lease;
mod medusa_archives;
mod mount;
mod mount_command;
mod mount_copy_in;
mod restore_node;
mod restore_node_fails;
mod ssh;
mod ssh_trust;
mod staging_model;
mod store_contract;
mod support;
mod work_done;
mod wrong_use;

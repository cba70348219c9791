//! Every integration test, in one program: it links once.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod config;
mod layering;
mod restore_node;
mod staging_model;
mod support;

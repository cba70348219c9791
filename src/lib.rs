#![doc = include_str!("ARCHITECTURE.md")]

pub mod model;

pub mod observe;
pub mod tasks;

pub mod config;
pub mod medusa;

pub mod cassandra;
pub mod ssh;
pub mod store;

pub mod catalog;

pub mod agent;

pub mod cluster;

pub mod jobs;
pub mod staging;
pub mod view;

pub mod fs;

pub mod fuse;

pub mod cli;

#![doc = include_str!("SEMANTICS.md")]

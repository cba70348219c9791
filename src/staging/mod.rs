//! What a copy into `restore/` means. Pure.

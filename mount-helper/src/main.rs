//! `/sbin/mount.medusafs`: what mount(8) calls for `mount -t medusafs`.

fn main() {}

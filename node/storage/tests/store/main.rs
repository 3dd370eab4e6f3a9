//! The store under everything that disks do: crashes at every step, bits that flip, syncs that fail, space that ends.
#![allow(clippy::unwrap_used, reason = "these are tests; Clippy knows only about functions marked as such")]

mod crashes;
mod damage;
mod failing;
mod hooked;
mod mending;
mod model;
mod pinning;
mod reading_back;

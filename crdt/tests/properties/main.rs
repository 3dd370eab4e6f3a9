//! Properties of what values are and how they merge, over random histories. Every failure prints the line that repeats
//! it, and the smallest script found. `decimal.rs`, `random.rs` and `replicas.rs` serve the tests of the keyspace too.
#![allow(clippy::unwrap_used, reason = "these are tests; Clippy knows only about functions marked as such")]

mod decimal;
mod membership;
mod number;
mod patches;
mod position;
mod random;
mod replicas;

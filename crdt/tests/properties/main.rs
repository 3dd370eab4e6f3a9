//! Properties of what values are and how they merge, over random histories. Every failure prints the line that repeats
//! it, and the smallest script found.
#![allow(clippy::unwrap_used, reason = "these are tests; Clippy knows only about functions marked as such")]

mod membership;
mod random;

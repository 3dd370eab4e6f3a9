//! The format from the outside: what was written is read, hostile bytes are refused, and Redis itself agrees.

#![allow(clippy::unwrap_used, reason = "these are tests; Clippy knows only about functions marked as such")]

mod hostile;
mod later;
mod redis;
mod round_trip;
mod samples;
mod signed;

//! Tests of the server from outside, in one binary.
#![allow(clippy::unwrap_used)]

mod conformance;
mod large;
mod merge;
mod robustness;

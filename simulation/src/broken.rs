//! What was found wrong.

use std::fmt;

/// An invariant that did not hold, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// The invariant, as in the table of invariants.
    pub invariant: &'static str,
    /// What was found.
    pub detail: String,
}

impl Broken {
    /// This invariant did not hold.
    pub fn new(invariant: &'static str, detail: impl Into<String>) -> Self {
        Self { invariant, detail: detail.into() }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.detail)
    }
}

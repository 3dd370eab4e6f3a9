//! A hash of everything that was noted, in its order: two runs that did the same have the same.

use xxhash_rust::xxh3::Xxh3;

/// What was noted so far, as a hash.
#[derive(Clone)]
pub struct Trace(Xxh3);

impl Trace {
    /// Nothing noted.
    pub fn new(seed: u64) -> Self {
        Self(Xxh3::with_seed(seed))
    }

    /// Notes one thing.
    pub fn note(&mut self, what: &str) {
        self.0.update(what.as_bytes());
        self.0.update(b"\n");
    }

    /// The hash.
    pub fn hash(&self) -> u64 {
        self.0.digest()
    }
}

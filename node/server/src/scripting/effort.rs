//! What work on a script's values takes outside of Lua: bytes, and time.
//!
//! Lua counts its own memory and looks at the clock by itself. What is written here for a script (text of JSON, words of a
//! command, its reply) grows out of Lua's sight, from values that may hold each other many times over. So whoever walks over
//! values of a script makes a *step* for each: the bytes that it has made so far count as the script's own, and others are
//! served, or end the script, in the middle of it.

use super::machine;
use crate::limits::SCRIPT_MEMORY_BYTES_MAX;
use mlua::{Error, Lua, Result};
use std::cell::Cell;

/// The work on one value.
pub struct Effort<'l> {
    /// Whose values they are.
    pub lua: &'l Lua,
    steps: Cell<u32>,
    /// How many bytes there were when they were counted last.
    bytes: Cell<usize>,
}

/// After so many steps it is looked how long the script has run: about a tenth of a millisecond.
const LOOK_STEPS: u32 = 1_000;

/// What is made without being counted: half a thousandth of what a script may have.
const UNCOUNTED_BYTES: usize = 256 << 10;

/// A text is written in pieces of so many bytes, with a step before each.
pub const PIECE_BYTES: usize = 64 << 10;

impl<'l> Effort<'l> {
    /// Work that begins.
    pub fn new(lua: &'l Lua) -> Self {
        Self { lua, steps: Cell::new(0), bytes: Cell::new(0) }
    }

    /// One more step, with so many bytes that were made so far or are about to be. An error ends the script, or is one that
    /// it may catch: that there is no memory.
    #[inline]
    pub fn step(&self, bytes: usize) -> Result<()> {
        let steps = self.steps.get() + 1;
        self.steps.set(steps);
        if steps < LOOK_STEPS && bytes < self.bytes.get() + UNCOUNTED_BYTES { Ok(()) } else { self.look(bytes) }
    }

    #[cold]
    fn look(&self, bytes: usize) -> Result<()> {
        self.bytes.set(bytes);
        if self.lua.used_memory().saturating_add(bytes) > SCRIPT_MEMORY_BYTES_MAX {
            return Err(Error::MemoryError("not enough memory".to_owned()));
        }
        if self.steps.get() >= LOOK_STEPS {
            self.steps.set(0);
            machine::look_at_work(self.lua)?;
        }
        Ok(())
    }
}

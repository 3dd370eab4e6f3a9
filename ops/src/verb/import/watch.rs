//! Looks at the source from aside: how far its stream is, and whether the import may end.

use super::address::Source;
use crate::failure::{Failure, Result};
use crate::wire::Wire;
use std::time::{Duration, Instant};

/// When following ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Never: it ends when it is told to.
    Told,
    /// When everything has arrived that the source had written after the full copy was done.
    Synced,
    /// When the source was told to refuse writes for so long, and everything has arrived.
    HandedOver(Duration),
}

/// A connection of its own to the source.
pub struct SourceWatch {
    wire: Wire,
    until: Until,
    looked: Option<Instant>,
    /// How far the source's stream was when it was last looked at.
    offset: u64,
    /// What must have arrived.
    goal: Option<u64>,
    paused: Option<Instant>,
}

impl SourceWatch {
    /// Connects.
    pub fn new(source: &Source, until: Until) -> Result<Self> {
        Ok(Self { wire: source.connect()?, until, looked: None, offset: 0, goal: None, paused: None })
    }

    /// Whether following may end, at this place in the stream. It asks the source once in a while, more often near the
    /// end.
    pub fn look(&mut self, applied: u64) -> Result<bool> {
        if self.paused.is_none() && self.looked.is_none_or(|looked| looked.elapsed() >= LOOK_INTERVAL) {
            self.offset = offset(&mut self.wire)?;
            self.looked = Some(Instant::now());
        }
        match self.until {
            Until::Told => Ok(false),
            Until::Synced => Ok(applied >= *self.goal.get_or_insert(self.offset)),
            Until::HandedOver(pause) => {
                if self.paused.is_none() && self.behind(applied) <= NEAR_BYTES {
                    let milliseconds = pause.as_millis().to_string();
                    self.wire.call(&[b"CLIENT", b"PAUSE", milliseconds.as_bytes(), b"WRITE"])?;
                    self.paused = Some(Instant::now());
                    // From here on it grows only by what the server says by itself.
                    self.offset = offset(&mut self.wire)?;
                    self.goal = Some(self.offset);
                }
                let (Some(goal), Some(paused)) = (self.goal, self.paused) else { return Ok(false) };
                if paused.elapsed() >= pause {
                    return Err(Failure::Arguments(
                        "the source was paused for too short to hand over; writes go on there; give it longer with --pause"
                            .to_owned(),
                    ));
                }
                Ok(applied >= goal)
            }
        }
    }

    /// How many bytes of the stream are still to come, as far as is known.
    pub fn behind(&self, applied: u64) -> u64 {
        self.offset.saturating_sub(applied)
    }

    /// How long the source refuses writes from now on.
    pub fn paused_ms(&self) -> u64 {
        match (self.until, self.paused) {
            (Until::HandedOver(pause), Some(began)) => pause.saturating_sub(began.elapsed()).as_millis() as u64,
            (Until::HandedOver(_) | Until::Told | Until::Synced, _) => 0,
        }
    }
}

/// How far the source's stream is.
fn offset(wire: &mut Wire) -> Result<u64> {
    let text = wire.call(&[b"INFO", b"replication"])?.text().unwrap_or_default();
    let fact = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    fact("master_repl_offset:")
        .ok_or_else(|| Failure::Answer { address: wire.address().to_owned(), question: "INFO replication".to_owned() })
}

/// So near to the end the rest is a matter of milliseconds.
const NEAR_BYTES: u64 = 256 * 1024;
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

//! Keys in, batches out: what every way of importing shares.

use super::holding::Holding;
use super::lanes::{Batch, Lanes, Shared, lock};
use super::lives::Lives;
use super::refusals::Refusals;
use super::requests::{self, Skip, Written};
use crate::failure::{Failure, Result};
use rdb::limits::FILE_EXPANDED_BYTES_MAX;
use rdb::payload::Payload;
use rdb::{Entry, Kind, Object, RdbError};
use resp::write_request;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// What became of everything.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Keys of the source.
    pub keys: u64,
    /// Keys for which requests were sent.
    pub written: u64,
    /// Keys that an earlier run had written.
    pub resumed: u64,
    /// Fields whose deadlines are lost.
    pub deadlines_lost: u64,
    /// Libraries of functions that were written.
    pub functions: u64,
    /// Libraries of functions that the target does not take.
    pub functions_skipped: u64,
    /// What modules had written beside the keys.
    pub modules_skipped: u64,
    /// Keys that were not written.
    pub skipped: BTreeMap<Skip, u64>,
    /// What the target did not take.
    pub refusals: Refusals,
}

impl Tally {
    /// Whether something of the source is missing at the target.
    pub fn has_losses(&self) -> bool {
        let is_loss = |(skip, _): (&Skip, &u64)| skip.is_loss();
        self.skipped.iter().any(is_loss) || self.deadlines_lost + self.functions_skipped + self.refusals.total() > 0
    }

    /// The lines of the report.
    pub fn lines(&self) -> Vec<String> {
        use crate::terminal::grouped;
        let mut lines = Vec::new();
        let mut line = |count: u64, what: &str| {
            if count > 0 {
                lines.push(format!("{:>12} {what}", grouped(count)));
            }
        };
        line(self.written, "keys written");
        line(self.resumed, "keys written by an earlier run");
        for (skip, count) in &self.skipped {
            line(*count, &format!("keys skipped: {}", skip.reason()));
        }
        line(self.deadlines_lost, "fields of hashes kept without their deadlines, which the target does not know");
        line(self.functions, "libraries of functions written");
        line(self.functions_skipped, "libraries of functions skipped, which the target does not take");
        line(self.modules_skipped, "records of modules skipped");
        for (text, count) in self.refusals.iter() {
            line(count, &format!("requests refused: {text}"));
        }
        lines
    }

    /// For `--json`.
    pub fn json(&self) -> Value {
        let skipped: BTreeMap<String, u64> = self.skipped.iter().map(|(skip, count)| (skip.reason(), *count)).collect();
        json!({
            "keys": self.keys, "written": self.written, "resumed": self.resumed, "skipped": skipped,
            "field_deadlines_lost": self.deadlines_lost, "functions": self.functions, "functions_skipped": self.functions_skipped,
            "modules_skipped": self.modules_skipped, "refused": self.refusals.json(),
        })
    }
}

/// Writes keys to the target.
pub struct Loader {
    lanes: Lanes,
    holding: Holding,
    batch: Batch,
    lives: Lives,
    /// What became of everything so far, but for refusals, which the connections count.
    pub tally: Tally,
}

impl Loader {
    /// One that writes over these connections.
    pub fn new(lanes: Lanes, holding: Holding) -> Self {
        let lives = Lives::Own { now: holding.now() };
        Self { lanes, holding, batch: Batch::default(), lives, tally: Tally::default() }
    }

    /// Holds the lives of keys, because a stream follows that says when they are over.
    pub fn holding_lives(self) -> Self {
        Self { lives: Lives::Held, ..self }
    }

    /// What the connections tell.
    pub fn shared(&self) -> Arc<Shared> {
        self.lanes.shared()
    }

    /// Passes over a key that an earlier run has written.
    pub fn pass(&mut self) {
        self.tally.keys += 1;
        self.tally.resumed += 1;
        self.batch.last_key = self.tally.keys;
    }

    /// The kinds that the target can hold: values of others need not be read.
    pub fn kinds(&self) -> BTreeSet<Kind> {
        self.holding.kinds()
    }

    /// Writes a key of this kind. The value need only be there if the kind is one of [`Loader::kinds`].
    pub fn key(&mut self, entry: &Entry, kind: Kind) -> Result<()> {
        if entry.database != self.batch.database {
            self.flush()?;
            self.batch.database = entry.database;
        }
        self.tally.keys += 1;
        match requests::write(entry, kind, &self.holding, self.lives, &mut self.batch.requests) {
            Written::Requests { replies, loses_deadlines } => {
                self.batch.replies += replies;
                self.tally.written += 1;
                self.tally.deadlines_lost += loses_deadlines;
            }
            Written::Skipped(skip) => *self.tally.skipped.entry(skip).or_default() += 1,
        }
        self.batch.last_key = self.tally.keys;
        if self.batch.requests.len() >= BATCH_BYTES || self.batch.replies >= BATCH_REPLIES {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Writes a library of functions.
    pub fn function(&mut self, code: &[u8]) {
        if self.holding.knows(b"function") {
            write_request(&mut self.batch.requests, &[b"FUNCTION", b"LOAD", b"REPLACE", code]);
            self.batch.replies += 1;
            self.tally.functions += 1;
        } else {
            self.tally.functions_skipped += 1;
        }
    }

    /// Sends what is ready.
    fn flush(&mut self) -> Result<()> {
        if let Lives::Own { now } = &mut self.lives {
            *now = self.holding.now();
        }
        if self.batch.replies == 0 {
            return if self.lanes.is_broken() { self.end().map(drop) } else { Ok(()) };
        }
        let next = Batch { database: self.batch.database, last_key: self.batch.last_key, ..Batch::default() };
        let batch = std::mem::replace(&mut self.batch, next);
        self.batch.requests = self.lanes.send(batch)?;
        Ok(())
    }

    /// Sends what is left and waits until everything has arrived; what became of it, and what the target holds.
    pub fn end(&mut self) -> Result<Tally> {
        if self.batch.replies > 0 {
            let batch = std::mem::take(&mut self.batch);
            self.lanes.send(batch)?;
        }
        self.lanes.end()?;
        let mut tally = self.tally.clone();
        tally.refusals.add(&lock(&self.lanes.shared().refusals));
        Ok(tally)
    }

    /// What the target knows.
    pub fn into_holding(self) -> Holding {
        self.holding
    }
}

/// Unix milliseconds.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// The value of a payload that a server has dumped for us. Larger ones than of any client: the operator chose the server.
pub fn value_of(payload: &[u8]) -> std::result::Result<Object, RdbError> {
    Payload::verify(payload)?.object_within(FILE_EXPANDED_BYTES_MAX)
}

/// What cannot be read of a source.
pub fn unreadable(what: &str, at: u64, error: RdbError) -> Failure {
    match error {
        RdbError::Io(error) => Failure::Arguments(format!("{what} cannot be read on at byte {at}: {error}")),
        error => Failure::Arguments(format!("{what} is not understood at byte {at}: {error}")),
    }
}

/// Bytes of requests in one batch.
const BATCH_BYTES: usize = 128 * 1024;
/// Replies to one batch.
const BATCH_REPLIES: u64 = 1000;

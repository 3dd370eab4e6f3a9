//! `--dry-run`: compares what would be imported with what is at the target, key by key, and writes nothing.

use super::Destination;
use super::address::Source;
use super::file::Dump;
use super::holding::{Holding, keys};
use super::lanes::select;
use super::lives;
use super::loader::value_of;
use super::pages::{KEYS_AT_ONCE, Pages, Told, ask, knows_deadlines};
use super::progress::Progress;
use super::release;
use crate::failure::Result;
use crate::terminal::grouped;
use crate::wire::Wire;
use rdb::{Entry, Group, Kind, Object, Stream, StreamId};
use serde_json::{Value, json};
use server::persistence::backup::BackupKeys;
use std::collections::{BTreeMap, BTreeSet};

/// What differs.
#[derive(Debug, Default)]
pub struct Comparison {
    equal: u64,
    missing: u64,
    different: u64,
    deadlines: u64,
    /// Keys that only the target has.
    extra: u64,
    /// Keys that the target could not hold anyway, or does not show.
    not_compared: u64,
    /// Keys that are equal, and whose lives are held.
    held: u64,
    examples: Vec<String>,
}

impl Comparison {
    /// Whether everything is there.
    pub fn is_equal(&self) -> bool {
        self.missing + self.different + self.deadlines + self.extra + self.not_compared == 0
    }

    /// The lines of the report.
    pub fn lines(&self) -> Vec<String> {
        let rows = [
            (self.equal, "keys are equal"),
            (self.missing, "keys are missing at the target"),
            (self.different, "keys differ"),
            (self.deadlines, "keys differ only in when they expire"),
            (self.extra, "keys are only at the target"),
            (self.held, "keys of those that are equal end only when the source says so: an import holds their lives"),
            (self.not_compared, "keys cannot be compared: the target does not know their kind or database"),
        ];
        let rows = rows.iter().filter(|(count, _)| *count > 0);
        let counts = rows.map(|(count, what)| format!("{:>12} {what}", grouped(*count)));
        counts.chain(self.examples.iter().map(|example| format!("  {example}"))).collect()
    }

    /// For `--json`.
    pub fn json(&self) -> Value {
        json!({
            "equal": self.equal, "missing": self.missing, "different": self.different,
            "deadlines_differ": self.deadlines, "only_at_target": self.extra, "not_compared": self.not_compared,
            "lives_held": self.held, "examples": self.examples, "is_equal": self.is_equal(),
        })
    }

    fn example(&mut self, what: &str, database: u32, key: &[u8]) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(format!("{what}: {} in database {database}", key.escape_ascii()));
        }
    }

    fn note(&mut self, expected: &Entry, found: &Told<'_>, deadline: Option<u64>, slack: u64) {
        let (database, key) = (expected.database, expected.key.as_slice());
        let own = deadline.and_then(lives::own);
        match found {
            Told::Gone => {
                self.missing += 1;
                self.example("missing", database, key);
            }
            Told::Refused(_) => self.not_compared += 1,
            Told::Payload(payload) => {
                let found = value_of(payload).ok().map(|mut object| {
                    object.normalize();
                    object
                });
                if !found.is_some_and(|found| is_same(&expected.object, &found)) {
                    self.different += 1;
                    self.example("differs", database, key);
                } else if !is_near(expected.deadline, own.or(deadline), slack) {
                    self.deadlines += 1;
                    self.example("expires at another time", database, key);
                } else {
                    self.equal += 1;
                    self.held += u64::from(own.is_some());
                }
            }
        }
    }
}

/// Two normalized values; numbers that different versions write of streams aside.
fn is_same(one: &Object, other: &Object) -> bool {
    match (one, other) {
        (Object::Stream(one), Object::Stream(other)) => {
            let ids = |stream: &Stream| (stream.len(), stream.last_id);
            ids(one) == ids(other)
                && groups(one) == groups(other)
                && one.iter().zip(other.iter()).all(|(one, other)| one.id == other.id && one.iter().eq(other.iter()))
        }
        (one, other) => one == other,
    }
}

/// The groups by name.
fn groups(stream: &Stream) -> BTreeMap<&[u8], GroupFacts<'_>> {
    stream.groups.iter().map(|group| (group.name.as_slice(), GroupFacts::of(group))).collect()
}

/// What is compared of a group: how far it is, how often what it waits for was delivered, and which consumer has what. When
/// it was delivered is aside.
#[derive(PartialEq, Eq)]
struct GroupFacts<'s> {
    last_id: StreamId,
    deliveries: BTreeMap<StreamId, u64>,
    consumers: BTreeMap<&'s [u8], BTreeSet<StreamId>>,
}

impl<'s> GroupFacts<'s> {
    fn of(group: &'s Group) -> Self {
        let deliveries = group.pending.iter().map(|pending| (pending.id, pending.deliveries)).collect();
        let consumers = group.consumers.iter();
        let consumers =
            consumers.map(|consumer| (consumer.name.as_slice(), consumer.pending.iter().copied().collect()));
        Self { last_id: group.last_id, deliveries, consumers: consumers.collect() }
    }
}

fn is_near(one: Option<u64>, other: Option<u64>, slack: u64) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one.abs_diff(other) <= slack,
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// Asks the target for what is expected, many at a time.
struct Comparer {
    wire: Wire,
    holding: Holding,
    knows_deadlines: bool,
    expected: Vec<Entry>,
    /// Deadlines that are told as the time that is left are not exact.
    slack: u64,
    found: Comparison,
    /// Keys of each database that were expected and are there.
    seen: BTreeMap<u32, u64>,
}

impl Comparer {
    fn new(into: &Destination, slack: u64) -> Result<Self> {
        let mut wire = into.wire()?;
        let (holding, knows_deadlines) = (into.holding()?, knows_deadlines(&mut wire)?);
        let slack = if knows_deadlines { slack } else { DEADLINE_SLACK_MS };
        let (expected, found, seen) = (Vec::new(), Comparison::default(), BTreeMap::new());
        Ok(Self { wire, holding, knows_deadlines, expected, slack, found, seen })
    }

    /// Expects this key, of which only the value of a kind that the target holds must be there.
    fn expect(&mut self, entry: &Entry, kind: Kind) -> Result<()> {
        if entry.deadline.is_some_and(|deadline| deadline <= self.holding.now()) || entry.object.is_empty() {
            return Ok(());
        }
        if entry.database >= self.holding.databases || !self.holding.holds(kind) {
            self.found.not_compared += 1;
            return Ok(());
        }
        if self.expected.first().is_some_and(|first| first.database != entry.database) {
            self.flush()?;
        }
        self.expected.push(entry.clone());
        if self.expected.len() >= KEYS_AT_ONCE { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        let Some(first) = self.expected.first() else { return Ok(()) };
        let database = first.database;
        self.expected.iter_mut().for_each(|entry| entry.object.normalize());
        select(&mut self.wire, database)?;
        let keys = self.expected.iter().map(|entry| entry.key.as_slice());
        let (expected, found, seen, slack) = (&self.expected, &mut self.found, &mut self.seen, self.slack);
        ask(&mut self.wire, keys, self.knows_deadlines, |index, told, deadline| {
            if !matches!(told, Told::Gone) {
                *seen.entry(database).or_default() += 1;
            }
            found.note(&expected[index], &told, deadline, slack);
            Ok(())
        })?;
        self.expected.clear();
        Ok(())
    }

    /// What is left, and what only the target has: as many as are more than were found. Notes of imports do not count.
    fn end(mut self, wants: impl Fn(u32) -> bool) -> Result<Comparison> {
        self.flush()?;
        for (database, count) in keys(&mut self.wire)? {
            if !wants(database) {
                continue;
            }
            let seen = self.seen.get(&database).copied().unwrap_or_default();
            let notes = if database == 0 { self.notes()? } else { 0 };
            let more = count.saturating_sub(seen + notes);
            // What the source has ended, and not said yet, stands here as long as its life is held.
            // Where deadlines are not told nobody sees it.
            let over = if more > 0 && self.knows_deadlines {
                release::over(&mut self.wire, database, self.holding.now())?
            } else {
                0
            };
            self.found.extra += more.saturating_sub(over);
        }
        Ok(self.found)
    }

    fn notes(&mut self) -> Result<u64> {
        let (mut pages, mut notes) = (Pages::matching(&mut self.wire, 0, b"pelago:import:*")?, 0);
        while let Some(page) = pages.next(&mut self.wire)? {
            notes += page.len() as u64;
        }
        Ok(notes)
    }
}

/// Compares a file with the target.
pub fn with_file(dump: Dump, into: &Destination) -> Result<Comparison> {
    let progress = Progress::of_bytes(dump.bytes());
    let mut comparer = Comparer::new(into, 0)?;
    let (mut keys, held) = (0, comparer.holding.kinds());
    dump.read(
        |kind| held.contains(&kind),
        |entry, kind, position| {
            keys += 1;
            if u64::is_multiple_of(keys, SHOW_EVERY) {
                progress.show(position, keys);
            }
            comparer.expect(entry, kind)
        },
        |_| (),
    )?;
    progress.end();
    comparer.end(|_| true)
}

/// Compares a backup with the target.
pub fn with_backup(found: &BackupKeys, into: &Destination) -> Result<Comparison> {
    let progress = Progress::of_keys(found.len());
    let mut comparer = Comparer::new(into, 0)?;
    let mut keys = 0_u64;
    found.each(|entry| {
        keys += 1;
        if keys.is_multiple_of(SHOW_EVERY) {
            progress.show(keys, keys);
        }
        comparer.expect(entry, entry.object.kind())
    })?;
    progress.end();
    comparer.end(|_| true)
}

/// Compares a running server with the target. Exact only if neither is written to meanwhile.
pub fn with_source(source: &Source, into: &Destination) -> Result<Comparison> {
    let mut wire = source.connect()?;
    let all = keys(&mut wire)?;
    let progress = Progress::of_keys(all.values().sum());
    let exact = knows_deadlines(&mut wire)?;
    let mut comparer = Comparer::new(into, if exact { 0 } else { DEADLINE_SLACK_MS })?;
    let (mut done, held) = (0, comparer.holding.kinds());
    for database in all.keys().copied().filter(|database| source.wants(*database)) {
        let mut pages = Pages::new(&mut wire, database)?;
        while let Some(keys) = pages.each_entry(&mut wire, exact, &held, |entry, kind| comparer.expect(entry, kind))? {
            done += keys as u64;
            progress.show(done, done);
        }
    }
    progress.end();
    comparer.end(|database| source.wants(database))
}

/// Keys between two looks at the bar.
const SHOW_EVERY: u64 = 512;
const EXAMPLES_MAX: usize = 10;
/// What the time between two looks may make of a deadline that is told as the time that is left.
const DEADLINE_SLACK_MS: u64 = 5000;

#[cfg(test)]
mod tests {
    use super::*;
    use rdb::{Consumer, PendingEntry};

    #[test]
    fn streams_differ_in_their_groups_too() {
        let id = |sequence| StreamId { milliseconds: 5, sequence };
        let stream = |name: &str, last, pending, deliveries, consumer: &str| {
            let mut stream = Stream::default();
            stream.last_id = id(9);
            stream.push(id(1), &[(b"f", b"v")]);
            let owner =
                Consumer { name: consumer.as_bytes().to_vec(), pending: vec![id(pending)], ..Consumer::default() };
            let pending = vec![PendingEntry { id: id(pending), deliveries, ..PendingEntry::default() }];
            let name = name.as_bytes().to_vec();
            let group = Group { name, last_id: id(last), pending, consumers: vec![owner], ..Group::default() };
            stream.groups.push(group);
            Object::Stream(Box::new(stream))
        };
        let one = stream("g", 1, 1, 1, "c");
        assert!(is_same(&one, &stream("g", 1, 1, 1, "c")));
        let others = [
            stream("h", 1, 1, 1, "c"),
            stream("g", 2, 1, 1, "c"),
            stream("g", 1, 2, 1, "c"),
            stream("g", 1, 1, 2, "c"),
            stream("g", 1, 1, 1, "d"),
        ];
        for other in others {
            assert!(!is_same(&one, &other), "{other:?}");
        }
    }
}

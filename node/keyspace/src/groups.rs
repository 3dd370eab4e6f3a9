//! Access to consumer groups: creating and destroying them, reading for them, acknowledging.
//!
//! What all regions have to know of a group is written like any other element of its stream. What was delivered, to whom,
//! and what is pending stays in this region: such changes are no changes of the key, but an image of it is out of date.

use crate::access::{Access, Database, WrongKind};
use crate::body::{KeyEntry, key_of};
use crate::observe::{Observed, Recorder};
use crate::stream::{Folded, GroupMut, KeptDeliveries, Pending, Stream, left_over};
use crate::streams::{head_of, observed_in, record_put, stream_in};
use crate::write::{begin_element, end_element};
use crdt::{
    DotRange, EntryDot, GroupStart, Kind, Operation, Stamp, StreamHead, StreamId, StreamName, UnixMillis, VersionVector,
};
use std::collections::HashSet;

/// From where on a group reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupPlace {
    /// Behind this id.
    Behind(StreamId),
    /// Behind everything that is there.
    Last,
}

/// Entries that a consumer is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// New ones, which are pending for it then.
    New,
    /// New ones, acknowledged at once.
    NewAcknowledged,
    /// What it was given before and has not acknowledged, with greater ids than this one.
    Again(StreamId),
}

/// A group as another server has it, with what is pending there.
#[derive(Clone, Debug)]
pub struct GivenGroup<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// The last id that was delivered.
    pub last_id: StreamId,
    /// Redis' counter of entries read, if it is known.
    pub entries_read: Option<u64>,
    /// Its consumers.
    pub consumers: Vec<GivenConsumer<'a>>,
}

/// A consumer of such a group.
#[derive(Clone, Debug)]
pub struct GivenConsumer<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// When it asked for something the last time.
    pub seen_ms: UnixMillis,
    /// What is pending for it.
    pub pending: Vec<GivenPending>,
}

/// What is pending for such a consumer.
#[derive(Clone, Copy, Debug)]
pub struct GivenPending {
    /// The entry.
    pub id: StreamId,
    /// When it was delivered the last time.
    pub delivered_ms: UnixMillis,
    /// How often it was delivered.
    pub deliveries: u64,
}

impl<'a> Access<'a> {
    /// Puts a group of another server into a stream that the same command has put. What is pending is so in this region;
    /// other regions deliver it too, until it is acknowledged.
    pub fn put_group(&mut self, database: Database, key: &[u8], given: &GivenGroup<'_>) -> Result<(), WrongKind> {
        let stamp = self.stamp();
        let pending = || given.consumers.iter().flat_map(|consumer| &consumer.pending);
        let open: HashSet<StreamId> = pending().map(|pending| pending.id).collect();
        let Some(stream) = self.stream_mut(database, key)? else { return Ok(()) };
        let entries = stream.dots().map(|dot| (dot.id, dot.id <= given.last_id && !open.contains(&dot.id)));
        let ids = (given.last_id, stream.last_id());
        let elements = group_elements(stamp, given.name, entries, ids, given.entries_read);
        self.change(database, key, |entry, now, recorder| {
            let found = begin_element(entry, now, Kind::Stream, recorder);
            for (name, value) in &elements {
                let observed = observed_in(stream_in(entry), name, recorder.stamp.author());
                record_put(recorder, name, observed, value);
            }
            end_element(entry, &found, recorder);
        });
        self.change_group(database, key, given.name, |group| {
            group.raise_last_id(given.last_id);
            let delivery = group.delivery();
            for consumer in &given.consumers {
                let (number, _) = delivery.pending.enter(consumer.name, consumer.seen_ms);
                for &GivenPending { id, delivered_ms, deliveries } in &consumer.pending {
                    delivery.pending.assign(id, Pending { stamp, delivered_ms, deliveries, consumer: number });
                }
            }
        })?;
        Ok(())
    }

    /// Creates a group, and an empty stream if there is none. False if there is such a group already.
    pub fn create_group(
        &mut self,
        database: Database,
        key: &[u8],
        name: &[u8],
        place: GroupPlace,
        entries_read: Option<u64>,
    ) -> Result<bool, WrongKind> {
        if self.stream_mut(database, key)?.is_some_and(|stream| stream.regional.group(name).is_some()) {
            return Ok(false);
        }
        self.expect_kind(database, key, Kind::Stream)?;
        self.begin_group_at(database, key, name, place, entries_read)?;
        Ok(true)
    }

    /// Lets a group read again, or not at all, what lies between its place and another one, in all regions. What was
    /// acknowledged until now counts as delivered or not by its id alone. False if there is no such group.
    pub fn set_group_place(
        &mut self,
        database: Database,
        key: &[u8],
        name: &[u8],
        place: GroupPlace,
        entries_read: Option<u64>,
    ) -> Result<bool, WrongKind> {
        if self.stream_mut(database, key)?.is_none_or(|stream| stream.regional.group(name).is_none()) {
            return Ok(false);
        }
        self.begin_group_at(database, key, name, place, entries_read)?;
        Ok(true)
    }

    fn begin_group_at(
        &mut self,
        database: Database,
        key: &[u8],
        name: &[u8],
        place: GroupPlace,
        entries_read: Option<u64>,
    ) -> Result<(), WrongKind> {
        let (stamp, applied) = (self.stamp(), self.shared().applied());
        let context = self.locked(key).memory.context().map(|context| context.vector.clone());
        let stream = self.stream_mut(database, key)?;
        let top = stream.as_ref().map_or(StreamId::ZERO, |stream| stream.last_id());
        let id = match place {
            GroupPlace::Behind(id) => id,
            GroupPlace::Last => top,
        };
        let mut seen = VersionVector::new();
        // Entries of other authors are not there, or not before the start.
        for node in
            stream.iter().flat_map(|stream| stream.added().nodes().collect::<Vec<_>>()).filter(|_| id > StreamId::ZERO)
        {
            let beyond = context.as_ref().map_or(Stamp::ZERO, |context| context.of(node));
            seen.raise(node, applied.of(node).max(beyond));
        }
        seen.raise(stamp.author(), stamp);
        let created = stream.and_then(|stream| Some(stream.regional.group(name)?.known().start().created));
        let round = GroupStart::round_of(stamp, name);
        let start = GroupStart { created: created.unwrap_or(stamp), round, id, top, seen, entries_read };
        let group = StreamName::Group(name).name();
        self.change(database, key, |entry, now, recorder| {
            let found = begin_element(entry, now, Kind::Stream, recorder);
            let stream = stream_in(entry.filter(|_| !found.creates));
            if stream.is_none() {
                let head = StreamHead::default().encode();
                record_put(recorder, &StreamName::Head.name(), Observed::default(), &head);
            }
            let observed = observed_in(stream, &group, recorder.stamp.author());
            record_put(recorder, &group, observed, &start.encode());
            let rounds = rounds_of(stream, name);
            remove_ranges(stream, recorder, |round| rounds.contains(&round));
            end_element(entry, &found, recorder);
        });
        if let Some(mut group) = self.stream_mut(database, key)?.and_then(|stream| stream.group_mut(name)) {
            group.begin_here();
        }
        Ok(())
    }

    /// Destroys a group. The stream stays. False if there is no such group.
    pub fn destroy_group(&mut self, database: Database, key: &[u8], name: &[u8]) -> Result<bool, WrongKind> {
        if self.stream_mut(database, key)?.is_none_or(|stream| stream.regional.group(name).is_none()) {
            return Ok(false);
        }
        let group = StreamName::Group(name).name();
        self.change(database, key, |entry, now, recorder| {
            let found = begin_element(entry, now, Kind::Stream, recorder);
            let stream = stream_in(entry);
            let is_all = stream.is_some_and(|stream| {
                stream.entries().first_id().is_none() && stream.other(&StreamName::Head.name()).is_none()
            });
            if let Some(stream) = stream.filter(|_| is_all) {
                record_put(recorder, &StreamName::Head.name(), Observed::default(), &head_of(stream).encode());
            }
            let rounds = rounds_of(stream, name);
            record_removal(stream, recorder, &group);
            remove_ranges(stream, recorder, |round| rounds.contains(&round));
            end_element(entry, &found, recorder);
        });
        Ok(true)
    }

    /// The names of the groups of a stream, in order; nothing if there is no stream.
    pub fn group_names(&mut self, database: Database, key: &[u8]) -> Result<Option<Vec<Box<[u8]>>>, WrongKind> {
        let stream = self.stream_mut(database, key)?;
        Ok(stream.map(|stream| stream.regional.groups().map(|(name, _)| name.into()).collect()))
    }

    /// Lets `work` look at a group. Nothing if there is no such stream or group.
    pub fn with_group<T>(
        &mut self,
        database: Database,
        key: &[u8],
        name: &[u8],
        work: impl FnOnce(&mut GroupMut<'_>) -> T,
    ) -> Result<Option<T>, WrongKind> {
        let stream = self.stream_mut(database, key)?;
        Ok(stream.and_then(|stream| stream.group_mut(name)).map(|mut group| work(&mut group)))
    }

    /// Lets `work` change what this region keeps of a group. Nothing if there is no such stream or group.
    pub fn change_group<T>(
        &mut self,
        database: Database,
        key: &[u8],
        name: &[u8],
        work: impl FnOnce(&mut GroupMut<'_>) -> T,
    ) -> Result<Option<T>, WrongKind> {
        let done = self.with_group(database, key, name, work)?;
        if done.is_some() {
            self.note_regional_change(key);
        }
        Ok(done)
    }

    /// Gives a consumer of a group entries, at most so many, and says their ids. It is there from then on if it got any, or
    /// had asked for what it was given before. Nothing if there is no such stream or group.
    pub fn read_for_group(
        &mut self,
        database: Database,
        key: &[u8],
        name: &[u8],
        consumer: &[u8],
        wish: Wish,
        count_max: usize,
    ) -> Result<Option<Vec<StreamId>>, WrongKind> {
        let now = self.now();
        let mut acknowledged = Vec::new();
        let given = self.with_group(database, key, name, |group| {
            if let Wish::Again(after) = wish {
                let (number, _) = group.delivery().pending.enter(consumer, now);
                group.delivery().pending.note_seen(number, now);
                return group.take_again(number, after, count_max, now);
            }
            let new = group.take_new(count_max);
            if !new.is_empty() {
                give(group, consumer, wish, now, &new, &mut acknowledged);
            }
            new.iter().map(|dot| dot.id).collect()
        })?;
        if given.as_ref().is_some_and(|given| !given.is_empty() || matches!(wish, Wish::Again(_))) {
            self.note_regional_change(key);
        }
        self.record_acknowledged(database, key, name, &acknowledged)?;
        Ok(given)
    }

    /// Acknowledges entries, in all regions, and says how many were not yet. Nothing if there is no such stream or group.
    pub fn acknowledge(
        &mut self,
        database: Database,
        key: &[u8],
        name: &[u8],
        ids: &[StreamId],
    ) -> Result<Option<usize>, WrongKind> {
        // After a restart a node's own number counts among those that were applied.
        let shared = self.shared();
        let has_others = shared.applied().iter().any(|(node, _)| !shared.is_me(node));
        let released = self.change_group(database, key, name, |group| group.release(ids, has_others))?;
        let Some((dots, count)) = released else { return Ok(None) };
        self.record_acknowledged(database, key, name, &dots)?;
        Ok(Some(count))
    }

    fn record_acknowledged(
        &mut self,
        database: Database,
        key: &[u8],
        name: &[u8],
        dots: &[EntryDot],
    ) -> Result<(), WrongKind> {
        if dots.is_empty() {
            return Ok(());
        }
        let folded = self.with_group(database, key, name, |group| group.fold(dots))?.unwrap_or_default();
        let Folded { put, removed } = folded;
        if put.is_empty() && removed.is_empty() {
            return Ok(());
        }
        self.change(database, key, |entry, now, recorder| {
            let found = begin_element(entry, now, Kind::Stream, recorder);
            let stream = stream_in(entry);
            for (name, range) in &put {
                let observed = observed_in(stream, name, recorder.stamp.author());
                record_put(recorder, name, observed, &DotRange::end_value(range.last));
            }
            removed.iter().for_each(|name| record_removal(stream, recorder, name));
            end_element(entry, &found, recorder);
        });
        Ok(())
    }

    /// What was delivered here of the groups of a stream.
    pub(crate) fn deliveries_of(&mut self, database: Database, key: &[u8]) -> KeptDeliveries {
        let stream = self.stream_mut(database, key).ok().flatten();
        stream.map(Stream::deliveries).unwrap_or_default()
    }

    /// Gives the groups of a stream that was just put here what was delivered of another stream's.
    pub(crate) fn take_over_deliveries(&mut self, database: Database, key: &[u8], deliveries: KeptDeliveries) {
        let stamp = self.stamp();
        if let Ok(Some(stream)) = self.stream_mut(database, key) {
            stream.regional.take_over(deliveries, stamp);
        }
    }

    /// A stream that readers see, to be changed in what is not replicated; it counts as used.
    fn stream_mut(&mut self, database: Database, key: &[u8]) -> Result<Option<&mut Stream>, WrongKind> {
        if self.stream(database, key)?.is_none() {
            return Ok(None);
        }
        let shared = self.shared();
        let (table, _) = self.locked(key).split(database.0);
        let entry = table.find_mut(shared.hasher.hash(key), |entry| key_of(entry) == key);
        Ok(entry.and_then(KeyEntry::wide_mut).and_then(|body| body.stream.as_deref_mut()))
    }

    /// An image of the key is out of date, though nothing is to be replicated.
    fn note_regional_change(&mut self, key: &[u8]) {
        let (shared, now) = (self.shared(), self.now());
        // Without taking a stamp: nothing is written.
        let later = shared.clock().next(now, shared.me());
        self.locked(key).memory.note_regional(later);
    }
}

/// Gives a consumer what was taken for it.
fn give(
    group: &mut GroupMut<'_>,
    consumer: &[u8],
    wish: Wish,
    now: UnixMillis,
    new: &[EntryDot],
    acknowledged: &mut Vec<EntryDot>,
) {
    let delivery = group.delivery();
    let (number, _) = delivery.pending.enter(consumer, now);
    delivery.pending.note_seen(number, now);
    if wish == Wish::NewAcknowledged {
        // What is pending for somebody, because the group was set back, stays so.
        acknowledged.extend(new.iter().filter(|dot| delivery.pending.find(dot.id).is_none()));
    } else {
        new.iter().for_each(|dot| delivery.deliver(*dot, number, now));
    }
}

/// The rounds of a group that is there.
fn rounds_of(stream: Option<&Stream>, name: &[u8]) -> Vec<u64> {
    let group = stream.and_then(|stream| stream.regional.group(name));
    group.map_or_else(Vec::new, |group| group.known().rounds().collect())
}

/// Removes the ranges of these rounds, and of those that no group has any more.
fn remove_ranges(stream: Option<&Stream>, recorder: &mut Recorder<'_>, goes: impl Fn(u64) -> bool) {
    let Some(found) = stream.filter(|stream| stream.has_ranges()) else { return };
    let is_live = |round| found.regional.groups().any(|(_, group)| group.known().rounds().any(|live| live == round));
    let names = left_over(found.others(), |round| is_live(round) && !goes(round));
    names.iter().for_each(|name| record_removal(stream, recorder, name));
}

fn record_removal(stream: Option<&Stream>, recorder: &mut Recorder<'_>, name: &[u8]) {
    let Observed { drops, resets } = observed_in(stream, name, recorder.stamp.author());
    recorder.record(&Operation::Remove { kind: Kind::Stream, name, drops, resets });
}

/// The elements by which a stream's entries, put again by the change `stamp`, say what is done with in each of its groups.
pub(crate) fn groups_put_again(stream: &Stream, stamp: Stamp) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut elements = Vec::new();
    for (name, group) in stream.regional.groups() {
        let dots = stream.dots().map(|dot| (dot.id, group.known().is_done(dot)));
        let start = group.known().start();
        elements.extend(group_elements(stamp, name, dots, (start.id, stream.last_id()), start.entries_read));
    }
    elements
}

/// The elements of a group whose stream's entries are all put by the change `stamp`; of each is said whether it is done
/// with. A group that has done with all of them has come to the id that is given, or to the last of them; beside it is the
/// last id of the stream.
pub(crate) fn group_elements(
    stamp: Stamp,
    name: &[u8],
    entries: impl Iterator<Item = (StreamId, bool)>,
    (id, top): (StreamId, StreamId),
    entries_read: Option<u64>,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (mut start, mut ranges, mut is_at_start) = (id, Vec::<DotRange>::new(), true);
    let mut open: Option<DotRange> = None;
    for (id, is_done) in entries {
        let dot = EntryDot { stamp, id };
        if is_at_start && is_done {
            start = start.max(id);
        } else if is_at_start {
            // What is done with later is a range.
            (is_at_start, start) = (false, id.previous().map_or(StreamId::ZERO, |before| start.min(before)));
        } else if is_done {
            open = Some(DotRange { last: dot, ..open.unwrap_or(DotRange::of(dot)) });
        } else {
            ranges.extend(open.take());
        }
    }
    ranges.extend(open);
    let round = GroupStart::round_of(stamp, name);
    let seen = [(stamp.author(), stamp)].into_iter().collect();
    let group = GroupStart { created: stamp, round, id: start, top, seen, entries_read };
    let mut elements = vec![(StreamName::Group(name).name(), group.encode())];
    let named = |range: &DotRange| {
        let name = StreamName::Acknowledged { round, first: range.first }.name();
        (name, DotRange::end_value(range.last))
    };
    elements.extend(ranges.iter().map(named));
    elements
}

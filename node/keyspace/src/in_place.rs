//! Writes in place: what nearly all commands are, on entries that this node alone has written or whose other writers
//! one dot names. Each says in a few steps what recording a change and applying it says in general, and does nothing
//! if its case is not that simple.

use crate::access::{Access, Database};
use crate::body::KeyBody;
use crate::elements::{ElementEntry, ElementMap};
use crate::entry::{Entry, Packed, PackedCounter, PackedLife, View};
use crate::hash::{digest_of_contribution, digest_of_dot, digest_of_element, digest_of_key, digest_of_move};
use crate::in_bundle::{Done, move_here, put_here};
use crate::keyspace::{Place, WriterState};
use crate::sequence::Sequence;
use crate::shared::Shared;
use crate::slot::{Memory, Slot};
use crate::stream::Stream;
use crate::summary::{Summary, digest_of_lives};
use crdt::{
    Change, Contribution, Kind, Lifetime, NodeNumber, Number, Operation, Reach, Resets, Stamp, Stamps, VersionVector,
};

impl Access<'_> {
    /// Adds to a counter that this node has moved before and that has no end. Returns the new value. Nothing if the case
    /// is not that simple, or if the sum would leave the 64 bits.
    pub fn increment_in_place(&mut self, database: Database, key: &[u8], more: i64) -> Option<i64> {
        let shared = &self.keyspace.shared;
        let hash = self.hash_of(key);
        let (entry, memory) = self.held.slot(key).find_in_place(hash, database.0, key)?;
        let writer = &mut *self.writer;
        let now = self.now;
        let mut take_stamp = || *self.stamp.get_or_insert_with(|| writer.stamp(shared, now));
        let name = digest_of_element(digest_of_key(database.0, key), Kind::String as u8, &[]);
        let (stamp, birth, cumulative, sum);
        if let Some(counter) = entry.counter_mut() {
            let from = (counter.stamp(), counter.cumulative());
            if !counter.is_endless() || from.0.author() != shared.me() {
                return None;
            }
            (birth, cumulative) = (counter.birth(), from.1.checked_add(more)?);
            (stamp, sum) = (take_stamp(), cumulative);
            counter.move_on(stamp, cumulative, |noted| shared.access_after(noted));
            memory.digest ^= digest_of_move(name, birth, from, (stamp, cumulative));
        } else {
            let body = entry.wide_mut()?;
            let own;
            (own, sum) = shown_counter(body, shared.me(), more)?;
            (birth, cumulative) = (own.birth, i64::try_from(own.cumulative.integer).ok()?.checked_add(more)?);
            stamp = take_stamp();
            let (before, after) = move_in_body(body, stamp, birth, cumulative)?;
            body.access = shared.access_after(body.access);
            memory.digest ^= digest_of_contribution(name, &before) ^ digest_of_contribution(name, &after);
        }
        memory.changed = stamp;
        memory.touched(database.0, key);
        self.lookups.note(key, true);
        if writer.pending.records.last().is_none_or(|last| last.stamp != stamp) {
            writer.pending.append_increment(stamp, self.in_group, database.0, key, birth, cumulative);
        } else {
            let cumulative = Number::integer(i128::from(cumulative));
            let operation = Operation::Add { kind: Kind::String, name: &[], birth, cumulative, asserts: true };
            log(writer, stamp, self.in_group, database, key, &operation);
        }
        Some(sum)
    }

    /// Adds to an element to which only this node, or this node too, has added before, of a collection that has no end and
    /// is of one type. Nothing if the case is not that simple.
    pub(crate) fn add_to_element_in_place(
        &mut self,
        database: Database,
        key: &[u8],
        kind: Kind,
        name: &[u8],
        more: Number,
    ) -> Option<()> {
        let shared = &self.keyspace.shared;
        let hash = self.hash_of(key);
        let (entry, memory) = self.held.slot(key).find_in_place(hash, database.0, key)?;
        let writer = &mut *self.writer;
        let now = self.now;
        let take_stamp = || *self.stamp.get_or_insert_with(|| writer.stamp(shared, now));
        let (stamp, before, after) = match entry.wide_mut() {
            None => {
                let moved = move_here(entry, kind, name, shared.me(), more, take_stamp)?;
                entry.note_use(|noted| shared.access_after(noted));
                moved
            }
            Some(body) => {
                let map = body.simple_map_mut(kind, now)?;
                let moved =
                    map.change(&shared.hasher, name, |entry| move_own(entry, shared.me(), more, take_stamp))??;
                body.access = shared.access_after(body.access);
                moved
            }
        };
        let digest = digest_of_element(digest_of_key(database.0, key), kind as u8, name);
        let moved = digest_of_contribution(digest, &before) ^ digest_of_contribution(digest, &after);
        memory.digest ^= moved;
        if let Some(body) = entry.wide_mut() {
            body.note_change(stamp, moved);
        }
        memory.changed = stamp;
        memory.touched(database.0, key);
        self.lookups.note(key, true);
        let operation =
            Operation::Add { kind, name, birth: before.birth, cumulative: after.cumulative, asserts: before.asserts };
        log(self.writer, stamp, self.in_group, database, key, &operation);
        Some(())
    }

    /// Sets an element of a collection that has no end, is of one type, and holds at most one write under this name.
    /// Returns whether the element is new. Nothing if the case is not that simple.
    pub(crate) fn put_element_in_place(
        &mut self,
        database: Database,
        key: &[u8],
        kind: Kind,
        name: &[u8],
        value: &[u8],
    ) -> Option<bool> {
        let shared = &self.keyspace.shared;
        let hash = self.hash_of(key);
        let (entry, memory) = self.held.slot(key).find_in_place(hash, database.0, key)?;
        let writer = &mut *self.writer;
        let now = self.now;
        let mut take_stamp = || *self.stamp.get_or_insert_with(|| writer.stamp(shared, now));
        let digest = digest_of_element(digest_of_key(database.0, key), kind as u8, name);
        let digest_before = memory.digest;
        let Done { stamp, replaced } = match entry.wide_mut() {
            None => {
                let done = put_here(entry, memory, kind, digest, (name, value), take_stamp)?;
                entry.note_use(|noted| shared.access_after(noted));
                done
            }
            Some(body) => {
                body.note_size(digest_of_key(database.0, key));
                let done = put_in_map(
                    body.simple_map_mut(kind, now)?,
                    shared,
                    memory,
                    digest,
                    (name, value),
                    &mut take_stamp,
                )?;
                // Only now: in other cases the general way notes the use.
                body.access = shared.access_after(body.access);
                done
            }
        };
        let drops: Stamps = replaced.into_iter().filter(|dot| dot.author() != stamp.author()).collect();
        memory.digest ^= digest_of_dot(digest, stamp, value);
        if let Some(body) = entry.wide_mut() {
            body.note_change(stamp, digest_before ^ memory.digest);
        }
        memory.changed = stamp;
        memory.touched(database.0, key);
        self.lookups.note(key, true);
        let operation = Operation::Put { kind, name, drops, resets: Resets::new(), value };
        log(self.writer, stamp, self.in_group, database, key, &operation);
        Some(replaced.is_none())
    }
}

impl Slot {
    /// An increment by a node that has moved this counter before, and whose sum is `cumulative` now. False if the case is not
    /// that simple and nothing was done.
    #[inline]
    pub(crate) fn apply_increment(
        &mut self,
        shared: &Shared,
        place: &Place,
        change: &Change<'_>,
        birth: Stamp,
        cumulative: i64,
    ) -> bool {
        let (stamp, database, key) = (change.stamp, change.database, change.key);
        let Some((entry, memory)) = self.find_in_place(place.hash, database, key) else { return false };
        if memory.resets().len() > 0 {
            return false;
        }
        let name = digest_of_element(digest_of_key(database, key), Kind::String as u8, &[]);
        if let Some(counter) = entry.counter_mut() {
            let from = (counter.stamp(), counter.cumulative());
            if from.0.author() != stamp.author() || from.0 >= stamp || counter.birth() != birth {
                return false;
            }
            counter.move_on(stamp, cumulative, |noted| shared.access_after(noted));
            memory.digest ^= digest_of_move(name, birth, from, (stamp, cumulative));
        } else {
            let Some(body) = entry.wide_mut() else { return false };
            let Some((before, after)) = move_in_body(body, stamp, birth, cumulative) else { return false };
            body.access = shared.access_after(body.access);
            memory.digest ^= digest_of_contribution(name, &before) ^ digest_of_contribution(name, &after);
        }
        memory.touched(database, key);
        true
    }
}

/// The contribution of `me` to a string that is the only content of its key, has no end, and is a whole number; and what
/// readers will see when that much more is added. Nothing if the case is not that simple, or if the number is or will be
/// beyond 64 bits.
fn shown_counter(body: &KeyBody, me: NodeNumber, more: i64) -> Option<(Contribution, i64)> {
    if body.kinds() != 1 || body.lifetime() != Lifetime::Never {
        return None;
    }
    let element = body.string.as_deref().filter(|element| !element.is_patched())?;
    let text = match &element.siblings[..] {
        [] => 0,
        [(_, text)] => crdt::parse_integer(text)?,
        // Which of them counts is for the general way to say.
        _ => return None,
    };
    let own = *element.contribution(me)?;
    let sum = element.sum(Number::integer(i128::from(text)));
    let shown = i64::try_from(sum.integer).ok().filter(|_| sum.float.is_none())?;
    Some((own, shown.checked_add(more)?))
}

/// Moves one of several contributions to a string on, or one beside a text. Returns what it was and what it is now; nothing
/// if the case is not that simple.
fn move_in_body(
    body: &mut KeyBody,
    stamp: Stamp,
    birth: Stamp,
    cumulative: i64,
) -> Option<(Contribution, Contribution)> {
    if body.summary.is_some() {
        return None;
    }
    let element = body.string.as_deref_mut().filter(|element| !element.is_patched())?;
    let before = *element.contribution(stamp.author())?;
    // What was no whole number might be packed afterwards.
    let was_whole = before.cumulative.float.is_none() && i64::try_from(before.cumulative.integer).is_ok();
    if before.birth != birth || before.stamp >= stamp || !was_whole {
        return None;
    }
    let after = Contribution { stamp, cumulative: Number::integer(i128::from(cumulative)), ..before };
    element.restore(after);
    Some((before, after))
}

/// Sets an element of a map that holds at most one write under this name. Nothing if the case is not that simple.
fn put_in_map(
    map: &mut ElementMap,
    shared: &Shared,
    memory: &mut Memory,
    digest: u64,
    (name, value): (&[u8], &[u8]),
    mut take_stamp: impl FnMut() -> Stamp,
) -> Option<Done> {
    let replaced = map.change(&shared.hasher, name, |entry| {
        let View::Packed(old @ Packed { life: PackedLife::Own, .. }) = entry.view() else { return None };
        let stamp = take_stamp();
        let replaced = Some(old.stamp);
        memory.digest ^= digest_of_dot(digest, old.stamp, old.value);
        entry.rewrite(stamp, PackedLife::Own, 0, value);
        Some(Done { stamp, replaced })
    });
    match replaced {
        Some(done) => done,
        None => {
            let stamp = take_stamp();
            map.insert_new(&shared.hasher, Entry::packed(stamp, PackedLife::Own, 0, name, value));
            Some(Done { stamp, replaced: None })
        }
    }
}

/// A list or stream that may be changed in place: of one kind, without an end, in a slot in which nothing was seen out of
/// order.
pub(crate) struct InPlace<'s, T> {
    /// What is changed.
    pub value: &'s mut T,
    /// The stamp of the change.
    pub stamp: Stamp,
    kind: Kind,
    shared: &'s Shared,
    memory: &'s mut Memory,
    summary: Option<&'s mut Summary>,
    /// The slot's digest before the command.
    digest_before: u64,
    access: &'s mut u32,
    writer: &'s mut WriterState,
    tied: bool,
    database: Database,
    key: &'s [u8],
    key_digest: u64,
    lives: &'s [(Stamp, Lifetime)],
}

/// What a key may hold that is changed so.
pub(crate) struct Kept<'s> {
    /// A list.
    pub list: Option<&'s mut Sequence>,
    /// A stream.
    pub stream: Option<&'s mut Stream>,
}

impl<T> InPlace<'_, T> {
    /// Says that an element now has this value, in place of nothing or of the dots that have to be named.
    pub fn put(&mut self, name: &[u8], drops: Stamps, value: &[u8]) {
        self.turn(name, self.stamp, value);
        self.log(&Operation::Put { kind: self.kind, name, drops, resets: Resets::new(), value });
    }

    /// Says that an element is gone whose dot and value these were.
    pub fn remove(&mut self, name: &[u8], dot: Stamp, value: &[u8]) {
        self.turn(name, dot, value);
        // What the same command has put goes by its name as well: it is no older dot of its author.
        let is_named = |dot: &Stamp| dot.author() != self.stamp.author() || *dot == self.stamp;
        let drops = Some(dot).filter(is_named).into_iter().collect();
        self.log(&Operation::Remove { kind: self.kind, name, drops, resets: Resets::new() });
    }

    /// Adds a dot and its value to the digest, or takes them out.
    pub fn turn(&mut self, name: &[u8], dot: Stamp, value: &[u8]) {
        let element = digest_of_element(self.key_digest, self.kind as u8, name);
        self.memory.digest ^= digest_of_dot(element, dot, value);
    }

    /// The dot, if a later one in its place has to name it: a change drops those of its own author anyway.
    pub fn foreign(&self, dot: Stamp) -> Stamps {
        Some(dot).filter(|dot| dot.author() != self.stamp.author()).into_iter().collect()
    }

    /// The vector that says what is observed of elements with these dots, if a vector can say it. `is_earlier` says that this
    /// very command has put none of them.
    pub(crate) fn covered(&self, is_earlier: bool, dots: impl Iterator<Item = Stamp>) -> Option<VersionVector> {
        let (me, applied) = (self.stamp.author(), self.shared.applied());
        let is_earlier = |summary: &&Summary| is_earlier || summary.latest_of(me) < self.stamp;
        let summary = self.summary.as_deref().filter(is_earlier);
        if let Some(covered) = summary.and_then(|summary| summary.covered(me, &applied)) {
            return Some(covered);
        }
        let mut covered = VersionVector::new();
        for dot in dots {
            // SUBTLE: what this very command has put is no older dot of its author.
            if dot.author() == me && dot < self.stamp {
                continue;
            }
            if dot.author() == me || !applied.covers(dot) {
                return None;
            }
            covered.raise(dot.author(), applied.of(dot.author()));
        }
        Some(covered)
    }

    /// Says that a range of elements is gone, as far as it was observed.
    pub(crate) fn log_range(&mut self, reach: Reach, bound: &[u8], covered: VersionVector) {
        self.log(&Operation::ClearRange { kind: self.kind, reach, bound, covered });
    }

    /// What the collection adds to the slot's digest before this command changes anything, if that is known.
    pub(crate) fn digest_of_key(&self) -> Option<u64> {
        let summary = self.summary.as_deref()?;
        Some(summary.digest() ^ digest_of_lives(self.lives, self.key_digest))
    }

    /// Takes what was cut off out of the slot's digest.
    pub(crate) fn turn_cut(&mut self, digest: u64) {
        self.memory.digest ^= digest;
    }

    pub(crate) fn key_digest(&self) -> u64 {
        self.key_digest
    }

    pub(crate) fn shared(&self) -> &'_ Shared {
        self.shared
    }

    fn log(&mut self, operation: &Operation<'_>) {
        log(self.writer, self.stamp, self.tied, self.database, self.key, operation);
    }

    /// Notes the use, and tells who watches the key.
    pub fn finish(self) {
        if let Some(summary) = self.summary {
            summary.note(self.stamp, self.digest_before ^ self.memory.digest);
        }
        *self.access = self.shared.access_after(*self.access);
        self.memory.changed = self.stamp;
        self.memory.touched(self.database.0, self.key);
    }
}

impl<'a> Access<'a> {
    /// A list or stream that may be changed in place, where `find` finds it; then it will be changed.
    pub(crate) fn in_place<'s, T>(
        &'s mut self,
        database: Database,
        key: &'s [u8],
        kind: Kind,
        find: impl FnOnce(Kept<'s>) -> Option<&'s mut T>,
    ) -> Option<InPlace<'s, T>>
    where
        'a: 's,
    {
        let shared = &self.keyspace.shared;
        let hash = self.hash_of(key);
        let (entry, memory) = self.held.slot(key).find_in_place(hash, database.0, key)?;
        let body = entry.wide_mut()?;
        if body.kinds() != 1 || body.lifetime() != Lifetime::Never {
            return None;
        }
        body.note_size(digest_of_key(database.0, key));
        let KeyBody { list, stream, summary, access, lives, .. } = body;
        let value = find(Kept { list: list.as_deref_mut(), stream: stream.as_deref_mut() })?;
        let (writer, now) = (&mut *self.writer, self.now);
        let stamp = *self.stamp.get_or_insert_with(|| writer.stamp(shared, now));
        let (tied, key_digest, digest_before) = (self.in_group, digest_of_key(database.0, key), memory.digest);
        let summary = summary.as_deref_mut();
        Some(InPlace {
            value,
            stamp,
            kind,
            shared,
            memory,
            summary,
            digest_before,
            access,
            writer,
            tied,
            database,
            key,
            key_digest,
            lives,
        })
    }
}

/// What a contribution was and what it has become, and when.
type Moved = (Stamp, Contribution, Contribution);

/// Moves this node's own contribution to an element on. Nothing if there is none, or if that is not done in place.
fn move_own(
    entry: &mut ElementEntry,
    me: NodeNumber,
    more: Number,
    take_stamp: impl FnOnce() -> Stamp,
) -> Option<Moved> {
    let (before, is_packed) = match entry.view() {
        View::Counter(counter @ PackedCounter { life: PackedLife::Own | PackedLife::Unasserted, .. }) => {
            let asserts = counter.life == PackedLife::Own;
            (Contribution { asserts, ..counter.contribution() }, true)
        }
        View::Wide(wide) if wide.element.life.is_none() => (*wide.element.contribution(me)?, false),
        // What is asserted about its life has to be repeated.
        View::Packed(_) | View::Counter(_) | View::Bundle(_) | View::Wide(_) => return None,
    };
    let cumulative = before.cumulative.plus(more);
    let whole = i64::try_from(cumulative.integer).ok().filter(|_| cumulative.float.is_none());
    if before.node != me || is_packed && whole.is_none() {
        return None;
    }
    let stamp = take_stamp();
    // What the same command has added already is for the general way to judge.
    if stamp <= before.stamp {
        return None;
    }
    let after = Contribution { stamp, cumulative, ..before };
    match (entry.wide_mut(), whole) {
        (Some(wide), _) => wide.element.restore(after),
        (None, Some(whole)) => entry.counter_mut()?.move_on(stamp, whole, |_| 0),
        (None, None) => return None,
    }
    Some((stamp, before, after))
}

/// Logs a change of one operation that has been applied.
#[inline]
pub(crate) fn log(
    writer: &mut WriterState,
    stamp: Stamp,
    tied: bool,
    database: Database,
    key: &[u8],
    operation: &Operation<'_>,
) {
    if writer.pending.records.last().is_none_or(|last| last.stamp != stamp) {
        writer.pending.append_operation(stamp, tied, database.0, key, operation);
        return;
    }
    writer.subject.clear();
    crdt::change::encode_subject(&mut writer.subject, database.0, key);
    writer.operations.clear();
    crdt::change::encode_operation(&mut writer.operations, stamp, operation);
    writer.pending.append(stamp, tied, &writer.subject, &writer.operations, 0);
}

#[cfg(test)]
mod tests {
    use crate::entry::View;
    use crate::{Access, Database, Delta, Drain, Keyspace, Lifetime, NewLifetime, Tracking, Writer, slot_of};
    use crdt::{Changes, NodeNumber};
    use std::borrow::Cow;
    use std::sync::Arc;

    const DB: Database = Database(0);
    const NOW: u64 = crdt::STAMP_EPOCH_MS + 1_000;

    struct Node {
        keyspace: Arc<Keyspace>,
        writer: Writer,
        drain: Drain,
    }

    impl Node {
        fn new(number: u16) -> Self {
            let keyspace = Keyspace::new(u64::from(number));
            keyspace.set_number(NodeNumber::new(number).unwrap());
            Self { writer: keyspace.writer(), keyspace, drain: Drain::default() }
        }

        fn write(&mut self, work: impl FnOnce(&mut Access<'_>)) {
            let mut access = self.writer.access(NOW, &[b"c"]);
            access.begin_command();
            work(&mut access);
        }

        /// As commands do it. Returns whether it was done in place.
        fn increment(&mut self, by: i64) -> bool {
            let mut in_place = false;
            self.write(|access| {
                let sum = access.increment_in_place(DB, b"c", by);
                in_place = sum.is_some();
                match sum {
                    None => access.add_to_string(DB, b"c", Delta::Integer(by)),
                    Some(sum) => {
                        let read = access.string(DB, b"c").unwrap().map(Cow::into_owned);
                        assert_eq!(read, Some(sum.to_string().into_bytes()));
                    }
                }
            });
            in_place
        }

        fn set(&mut self, value: &[u8], lifetime: Lifetime) {
            self.write(|access| access.put_string(DB, b"c", value, NewLifetime::Set(lifetime)));
        }

        /// What readers see, the digest, and whether the entry is packed.
        fn state(&mut self) -> (Option<Vec<u8>>, u64, bool) {
            let value = self.writer.access(NOW, &[b"c"]).string(DB, b"c").unwrap().map(Cow::into_owned);
            let slot = self.keyspace.slot(slot_of(b"c"));
            let entry = slot.find(&self.keyspace.shared, 0, b"c");
            let is_packed = entry.is_some_and(|entry| !matches!(entry.view(), View::Wide(_)));
            (value, slot.memory.digest, is_packed)
        }
    }

    /// Two that write and hear of each other when they are told to; of two that only listen, one applies everything as
    /// changes that come are applied, and one by the rules alone.
    struct Meeting {
        writers: [Node; 2],
        in_place: Node,
        by_rules: Node,
        unheard: [Vec<crate::OpenBatch>; 2],
    }

    impl Meeting {
        fn new() -> Self {
            let [one, two, in_place, by_rules] = [1, 2, 3, 4].map(Node::new);
            Self { writers: [one, two], in_place, by_rules, unheard: Default::default() }
        }

        /// Tells the listeners, and compares what they have come to.
        fn told(&mut self, of: usize) -> &mut Self {
            let origin = self.writers[of].keyspace.number();
            for batch in self.writers[of].drain.take(&self.writers[of].keyspace) {
                let bounds = (batch.previous, batch.last);
                self.in_place.keyspace.apply(origin, bounds.0, bounds.1, &batch.payload, NOW).unwrap();
                for change in Changes::new(&batch.payload, origin, batch.previous).map(Result::unwrap) {
                    let shared = &self.by_rules.keyspace.shared;
                    self.by_rules.keyspace.slot(slot_of(change.key)).apply(shared, &change).unwrap();
                }
                let vector = [(origin, batch.last)].into_iter().collect();
                self.by_rules.keyspace.raise_applied(&vector);
                self.unheard[1 - of].push(batch);
            }
            assert_eq!(self.in_place.state(), self.by_rules.state());
            self
        }

        /// The writers hear of all that the listeners were told.
        fn heard(&mut self) {
            for (by, unheard) in self.unheard.iter_mut().enumerate() {
                let origin = self.writers[1 - by].keyspace.number();
                for batch in unheard.drain(..) {
                    let to = &self.writers[by].keyspace;
                    to.apply(origin, batch.previous, batch.last, &batch.payload, NOW).unwrap();
                }
            }
            let expected = self.in_place.state();
            self.writers.iter_mut().for_each(|writer| assert_eq!(writer.state(), expected));
        }
    }

    #[test]
    fn increments_in_place_say_what_the_rules_say() {
        let mut meeting = Meeting::new();
        for (by, in_place) in [(5, false), (-7, true), (3, true)] {
            assert_eq!(meeting.writers[0].increment(by), in_place);
            meeting.told(0);
        }
        // Concurrent first increments, then both go on.
        meeting.writers[1].increment(100);
        meeting.told(1).heard();
        for round in 0..3 {
            for writer in [0, 1] {
                assert!(meeting.writers[writer].increment(round), "a counter of two nodes is moved in place");
                meeting.told(writer);
            }
        }
        meeting.heard();
        // A text in the place of what was observed; what was not counts on.
        meeting.writers[1].increment(1_000);
        meeting.writers[0].set(b"50", Lifetime::Never);
        meeting.told(0).told(1).heard();
        assert_eq!(meeting.in_place.state().0, Some(b"1050".to_vec()));
        for (writer, by, in_place) in [(0, 1, false), (0, 1, true), (1, 2, true), (1, i64::MAX, false), (0, 1, false)] {
            assert_eq!(meeting.writers[writer].increment(by), in_place, "{writer} {by}");
            meeting.told(writer).heard();
        }
        // A life that ends.
        meeting.writers[0].set(b"7", Lifetime::Until(NOW + 5_000));
        meeting.told(0).heard();
        for writer in [0, 0, 1, 1] {
            assert!(!meeting.writers[writer].increment(1), "its end has to be repeated");
            meeting.told(writer).heard();
        }
        assert_eq!(meeting.in_place.state().0, Some(b"11".to_vec()));
    }

    #[test]
    fn an_increment_of_a_life_that_was_reset_does_not_move_the_counter() {
        let mut meeting = Meeting::new();
        meeting.writers[1].increment(5);
        meeting.told(1).heard();
        meeting.writers[1].increment(3);
        meeting.writers[0].write(|access| assert!(access.delete(DB, b"c")));
        // The increment was not observed by the removal: of the two orders of arrival this one needs the reset to be remembered.
        meeting.told(0).told(1).heard();
        assert_eq!(meeting.in_place.state().0, Some(b"3".to_vec()));
        meeting.writers[1].increment(1);
        meeting.told(1).heard();
        assert_eq!(meeting.in_place.state().0, Some(b"4".to_vec()));
    }

    #[test]
    fn a_write_that_is_not_simple_counts_as_one_use() {
        let keyspace = Keyspace::new(1);
        keyspace.set_number(NodeNumber::new(1).unwrap());
        // With this factor each use counts.
        keyspace.track_use(Tracking::Frequency { log_factor: 0, decay_minutes: 0 });
        let mut writer = keyspace.writer();
        let mut access = writer.access(1_700_000_000_000, &[b"h"]);
        access.begin_command();
        assert_eq!(access.put_field(Database(0), b"h", b"f", b"v"), Ok(true));
        access.begin_command();
        assert_eq!(access.add_to_field(Database(0), b"h", b"n", Delta::Integer(1)), Ok(()));
        let before = access.frequency(Database(0), b"h").unwrap();
        for (field, uses) in [(b"f", 1), (b"n", 2)] {
            access.begin_command();
            assert_eq!(access.put_field(Database(0), b"h", field, b"w"), Ok(false));
            assert_eq!(access.frequency(Database(0), b"h"), Some(before + uses));
        }
    }
}

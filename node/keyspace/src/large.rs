//! Large values: strings that are written without the copies that the general way makes of them.
//!
//! The general way writes a change down, widens the key's entry, applies the change and packs the entry again: five
//! copies of the value, which nobody notices below some kilobytes. Here a value is copied twice, into its entry and into
//! the log. Only the simple case is taken, a key that is absent or packed and of which everything old goes; what becomes
//! of it is what the general way makes of it, which the tests below compare.

use crate::access::{Access, Database};
use crate::body::{KeyEntry, key_of, lifetime_of};
use crate::entry::{Entry, PackedLife, View};
use crate::hash::{digest_of_dot, digest_of_element, digest_of_key, digest_of_life};
use crate::merge::Site;
use crate::shared::Shared;
use crate::slot::Slot;
use crate::write::NewLifetime;
use crdt::{Change, Kind, Lifetime, Operation, Operations, Resets, Stamp, Stamps, UnixMillis};

/// Values from this size on are written here. Below it the general way costs microseconds.
pub const LARGE_VALUE_BYTES: usize = 16 << 10;

/// Bytes that the operations around a value take at most: tags, lengths, and one dot each.
const AROUND_A_VALUE_BYTES: usize = 256;

/// A write of a whole string.
pub struct LargePut<'a> {
    /// The change's stamp.
    pub stamp: Stamp,
    /// The string.
    pub value: &'a [u8],
    /// The dots of others that the value replaces.
    pub drops: Stamps,
    /// The dots of others about the key's life that go, and the life in their place; none leaves the life as it is.
    pub life: Option<(Stamps, Lifetime)>,
}

impl<'a> LargePut<'a> {
    /// What a change does, if it is the write of one large string and nothing else.
    pub fn of_change(change: &Change<'a>) -> Option<Self> {
        if change.operations.len() < LARGE_VALUE_BYTES {
            return None;
        }
        let mut operations = Operations::of(change);
        let Some(Ok(Operation::Put { kind: Kind::String, drops, resets, value, .. })) = operations.next() else {
            return None;
        };
        let life = match operations.next() {
            None => None,
            Some(Ok(Operation::Live { drops, assertion: Some(lifetime) })) => Some((drops, lifetime)),
            Some(_) => return None,
        };
        let is_all = resets.is_empty() && operations.next().is_none();
        is_all.then_some(Self { stamp: change.stamp, value, drops, life })
    }

    /// What a write of a string has to do with what it finds. Nothing if that is not simple.
    fn observed(
        entry: Option<&KeyEntry>,
        stamp: Stamp,
        now: UnixMillis,
        value: &'a [u8],
        lifetime: NewLifetime,
    ) -> Option<Self> {
        let me = stamp.author();
        let mut put = Self { stamp, value, drops: Stamps::new(), life: None };
        let (old, creates, repeats) = match entry.map(|entry| (entry, entry.view())) {
            None => (None, true, None),
            Some((entry, View::Packed(old))) => {
                let lifetime = lifetime_of(entry);
                let creates = lifetime.is_over(now);
                let repeats = Some(lifetime).filter(|lifetime| !creates && *lifetime != Lifetime::Never);
                (Some(old), creates, repeats)
            }
            Some((_, View::Counter(_) | View::Bundle(_) | View::Wide(_))) => return None,
        };
        put.drops.extend(old.map(|old| old.stamp).filter(|dot| dot.author() != me));
        let life = match lifetime {
            NewLifetime::Set(lifetime) => Some(lifetime),
            NewLifetime::Keep if creates => Some(Lifetime::Never),
            NewLifetime::Keep => repeats,
        };
        put.life = life.map(|lifetime| {
            let assertion = old.and_then(|old| old.life.assertion(old.stamp));
            let drops = assertion.map(|(dot, _)| dot).filter(|dot| dot.author() != me);
            (drops.into_iter().collect(), lifetime)
        });
        Some(put)
    }

    /// Whether the dot of an old value or assertion goes: it is named, or it is an earlier one of the same author.
    fn drops(&self, named: &[Stamp], dot: Stamp) -> bool {
        named.contains(&dot) || (dot.author() == self.stamp.author() && dot <= self.stamp)
    }

    /// The operations, as the change is written down.
    fn operations(self) -> impl Iterator<Item = Operation<'a>> {
        let Self { value, drops, life, .. } = self;
        let put = Operation::Put { kind: Kind::String, name: &[], drops, resets: Resets::new(), value };
        let live = life.map(|(drops, lifetime)| Operation::Live { drops, assertion: Some(lifetime) });
        std::iter::once(put).chain(live)
    }
}

impl Slot {
    /// Applies the write of a large string. False if the case is not that simple and nothing was done.
    pub fn put_large(&mut self, shared: &Shared, database: u8, key: &[u8], put: &LargePut<'_>) -> bool {
        if self.memory.context().is_some() {
            return false;
        }
        let hash = shared.hasher.hash(key);
        let key_digest = digest_of_key(database, key);
        let element = digest_of_element(key_digest, Kind::String as u8, &[]);
        let life = digest_of_element(key_digest, 0, &[]);
        let (table, memory) = self.split(database);
        let (before, assertion) = match table.find_mut(hash, |entry| key_of(entry) == key) {
            None => {
                // A dot that is named and not here would have to be remembered.
                if !put.drops.is_empty() || put.life.as_ref().is_some_and(|(drops, _)| !drops.is_empty()) {
                    return false;
                }
                let assertion = put.life.as_ref().map(|&(_, lifetime)| (put.stamp, lifetime));
                let packed = PackedLife::from_assertion(assertion, put.stamp);
                let entry = Entry::packed(put.stamp, packed, shared.access_at_first(), key, put.value);
                table.insert_new(hash, entry, |entry| shared.hasher.hash(key_of(entry)));
                shared.count_keys(database, 1);
                memory.digest ^= assertion.map_or(0, |(dot, lifetime)| digest_of_life(life, dot, lifetime));
                (None, assertion)
            }
            Some(entry) => {
                let before = lifetime_of(entry);
                let View::Packed(old) = entry.view() else { return false };
                let old_life = old.life.assertion(old.stamp);
                let here = |named: &[Stamp], dot: Option<Stamp>| named.iter().all(|named| Some(*named) == dot);
                if !put.drops(&put.drops, old.stamp) || !here(&put.drops, Some(old.stamp)) {
                    return false;
                }
                let assertion = match &put.life {
                    None => old_life,
                    Some((drops, lifetime)) => {
                        let goes = old_life.is_none_or(|(dot, _)| put.drops(drops, dot));
                        if !goes || !here(drops, old_life.map(|(dot, _)| dot)) {
                            return false;
                        }
                        Some((put.stamp, *lifetime))
                    }
                };
                memory.digest ^= digest_of_dot(element, old.stamp, old.value);
                for (dot, lifetime) in [old_life, assertion].into_iter().flatten() {
                    memory.digest ^= digest_of_life(life, dot, lifetime);
                }
                let access = shared.access_after(old.access);
                entry.rewrite(put.stamp, PackedLife::from_assertion(assertion, put.stamp), access, put.value);
                (Some(before), assertion)
            }
        };
        memory.digest ^= digest_of_dot(element, put.stamp, put.value);
        let after = assertion.map_or(Lifetime::Never, |(_, lifetime)| lifetime);
        shared.count_life(database, before, Some(after));
        if let Lifetime::Until(deadline) = after {
            Site::new(shared, memory, database, key).expires_at(deadline);
        }
        memory.touched(database, key);
        true
    }
}

impl Access<'_> {
    /// Writes a large string as a whole. False if the case is not that simple and nothing was done.
    pub(crate) fn put_large_string(
        &mut self,
        database: Database,
        key: &[u8],
        value: &[u8],
        lifetime: NewLifetime,
        bytes_min: usize,
    ) -> bool {
        if value.len() < bytes_min {
            return false;
        }
        let shared = self.shared();
        let (stamp, now, tied) = (self.stamp(), self.now, self.in_group);
        // What one command writes to one key is one change.
        if self.writer.pending.records.last().is_some_and(|last| last.stamp == stamp) {
            return false;
        }
        let slot = self.held.slot(key);
        let entry = slot.find(shared, database.0, key);
        let Some(put) = LargePut::observed(entry, stamp, now, value, lifetime) else { return false };
        if !slot.put_large(shared, database.0, key, &put) {
            return false;
        }
        slot.memory.changed = stamp;
        let room = key.len() + value.len() + AROUND_A_VALUE_BYTES;
        self.writer.pending.append_operations(stamp, tied, database.0, key, room, put.operations());
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OpenBatch;
    use crate::pair::{DB, NOW, Side};

    impl Side {
        /// A write of `k`, by the short way if `short`.
        fn put(&mut self, short: bool, value: &[u8], lifetime: NewLifetime) {
            let mut access = self.writer.access(NOW, &[b"k"]);
            access.begin_command();
            // A plain SET has a way of its own, which comes first.
            let short = short && lifetime != NewLifetime::Set(Lifetime::Never);
            if !short || !access.put_large_string(DB, b"k", value, lifetime, 0) {
                access.put_string(DB, b"k", value, lifetime);
            }
        }

        fn set_lifetime(&mut self, lifetime: Lifetime) {
            let mut access = self.writer.access(NOW, &[b"k"]);
            access.begin_command();
            access.set_lifetime(DB, b"k", lifetime);
        }

        /// Everything that can be told of the key.
        fn facts(&mut self) -> String {
            let slot = crate::slot_of(b"k");
            let mut access = self.writer.access(NOW, &[b"k"]);
            access.begin_command();
            let value = access.string(DB, b"k").unwrap().map(std::borrow::Cow::into_owned);
            let life = access.lifetime(DB, b"k");
            let memory = access.memory_of(DB, b"k", usize::MAX);
            drop(access);
            let keyspace = &self.keyspace;
            let (digest, earliest) = (keyspace.digest_of(slot).digest, keyspace.shared.earliest(slot));
            let counts = (keyspace.len(DB.0), keyspace.keys_with_end(DB.0), keyspace.early_dots());
            format!("{value:?} {life:?} {memory:?} {digest:x} {earliest} {counts:?}")
        }
    }

    /// What one of the two nodes does, drawn from a word.
    fn step(sides: &mut [Side; 2], short: bool, word: u64) -> Vec<OpenBatch> {
        let at = (word & 1) as usize;
        let value = [b'a' + (word >> 8) as u8 % 5; 3];
        let lifetime = match (word >> 16) % 3 {
            0 => Lifetime::Never,
            _ => Lifetime::Until(NOW - 5_000 + (word >> 24) % 10_000),
        };
        match (word >> 1) % 8 {
            0..=2 => sides[at].put(short, &value, NewLifetime::Keep),
            3..=5 => sides[at].put(short, &value, NewLifetime::Set(lifetime)),
            6 => sides[at].set_lifetime(lifetime),
            _ => {
                let batches = sides[at].batches();
                let (one, other) = sides.split_at_mut(1);
                let (from, to) = if at == 0 { (&one[0], &other[0]) } else { (&other[0], &one[0]) };
                to.hear(from, &batches);
                return batches;
            }
        }
        Vec::new()
    }

    #[test]
    fn the_short_way_leads_where_the_general_way_leads() {
        let mut word = 1_u64;
        for round in 0..100 {
            let (mut short, mut general) = ([Side::new(1), Side::new(2)], [Side::new(1), Side::new(2)]);
            for index in 0..40 {
                word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let sent = [step(&mut short, true, word >> 20), step(&mut general, false, word >> 20)];
                assert_eq!(sent[0], sent[1], "what is sent in round {round} at {index}");
                for at in 0..2 {
                    assert_eq!(short[at].facts(), general[at].facts(), "round {round}, step {index}, node {at}");
                }
            }
        }
    }

    #[test]
    fn a_change_that_arrives_is_applied_the_short_way_too() {
        let (mut one, mut other) = (Side::new(1), Side::new(2));
        let large = vec![b'x'; LARGE_VALUE_BYTES];
        for lifetime in [NewLifetime::Keep, NewLifetime::Set(Lifetime::Until(NOW + 1_000)), NewLifetime::Keep] {
            one.put(true, &large, lifetime);
            let batches = one.batches();
            for batch in &batches {
                let changes: Vec<_> =
                    crdt::Changes::new(&batch.payload, one.number, batch.previous).map(Result::unwrap).collect();
                assert!(changes.iter().all(|change| LargePut::of_change(change).is_some()));
            }
            other.hear(&one, &batches);
            assert_eq!(one.facts(), other.facts());
            other.put(false, &large, NewLifetime::Set(Lifetime::Never));
            let batches = other.batches();
            one.hear(&other, &batches);
            assert_eq!(one.facts(), other.facts());
        }
    }

    #[test]
    fn a_large_value_leaves_no_memory_behind() {
        let mut side = Side::new(1);
        let large = vec![b'x'; 8 << 20];
        for (key, lifetime) in [(&b"k"[..], NewLifetime::Keep), (b"k", NewLifetime::Set(Lifetime::Until(NOW + 1)))] {
            let mut access = side.writer.access(NOW, &[key]);
            access.begin_command();
            access.put_string(DB, key, &large, lifetime);
        }
        {
            let mut access = side.writer.access(NOW, &[b"h", &large]);
            access.begin_command();
            access.put_field(DB, b"h", b"f", &large).unwrap();
            access.put_string(DB, &large, b"v", NewLifetime::Set(Lifetime::Until(NOW + 1)));
        }
        side.batches();
        assert!(side.writer.kept_bytes() <= 3 * crate::log::LOG_BYTES_KEPT_MAX, "{}", side.writer.kept_bytes());
    }
}

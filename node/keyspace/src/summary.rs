//! What is known of a large collection without looking at its elements: enough to remove it as a whole in one step, at the
//! node that is told to and at those that hear of it.
//!
//! It is kept beside the elements from [`LARGE_ELEMENTS_MIN`] on, and follows each of their changes. Without it whoever
//! removes a collection would look at every element twice: once for what has been observed of it, and once to take it out
//! of the slot's digest. Keys of several types have none.

use crate::body::KeyBody;
use crate::garbage::Waste;
use crate::hash::{digest_of_contribution, digest_of_dot, digest_of_element, digest_of_element_life, digest_of_life};
use crate::merge::{Site, observed};
use crate::state::for_each_element_of;
use crdt::{Kind, Lifetime, NodeNumber, Operation, Stamp, VersionVector};

/// From so many elements on a collection has a summary. Looking at fewer takes a fraction of a millisecond. Builds for tests
/// have large collections that are smaller.
pub const LARGE_ELEMENTS_MIN: usize = if cfg!(debug_assertions) { 64 } else { 4096 };

/// What is known of all elements of a key, and of its life.
#[derive(Debug)]
pub struct Summary {
    /// What the key adds to the slot's digest.
    digest: u64,
    /// Of each author that has written here a stamp that none of its live dots here exceeds.
    latest: VersionVector,
    /// Whether an element may be a counter. Each contribution to one that goes has to be named.
    has_counters: bool,
}

impl Summary {
    /// That of a key as it is, found by looking at all of it.
    fn of(body: &KeyBody, key_digest: u64) -> Self {
        let mut summary = Self {
            digest: digest_of_lives(&body.lives, key_digest),
            latest: VersionVector::new(),
            has_counters: false,
        };
        for_each_element_of(body, |kind, name, element| {
            let digest = digest_of_element(key_digest, kind as u8, name);
            for (dot, value) in &element.siblings {
                summary.note(*dot, digest_of_dot(digest, *dot, value));
            }
            for (dot, _) in element.life.iter().flat_map(|life| &life.assertions) {
                summary.note(*dot, 0);
            }
            for contribution in &element.contributions {
                summary.digest ^= digest_of_contribution(digest, contribution);
                summary.has_counters = true;
            }
            summary.digest ^= digest_of_element_life(digest, element.life.as_deref());
        });
        summary
    }

    /// Notes a change: a stamp that may be that of a new dot, and what has changed in the slot's digest.
    #[inline]
    pub fn note(&mut self, stamp: Stamp, digest: u64) {
        self.latest.raise(stamp.author(), stamp);
        self.digest ^= digest;
    }

    /// Notes that somebody has added to an element.
    #[inline]
    pub fn note_counter(&mut self) {
        self.has_counters = true;
    }

    /// Whether a clear with this stamp has observed all elements.
    pub fn is_observed(&self, stamp: Stamp, covered: &VersionVector) -> bool {
        !self.has_counters && self.latest.iter().all(|(_, latest)| observed(latest, stamp, covered))
    }

    /// The same of all but what the very change with this stamp has put.
    pub fn is_observed_but_for(&self, stamp: Stamp, covered: &VersionVector) -> bool {
        let is_seen = |latest: Stamp| latest == stamp || observed(latest, stamp, covered);
        !self.has_counters && self.latest.iter().all(|(_, latest)| is_seen(latest))
    }

    /// What the key adds to the slot's digest, as of the last change that it has followed.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// The latest stamp of this author that it knows of.
    pub fn latest_of(&self, author: NodeNumber) -> Stamp {
        self.latest.of(author)
    }

    /// The vector that says what a clear by `me` has observed here, if a vector can say it.
    pub fn covered(&self, me: NodeNumber, applied: &VersionVector) -> Option<VersionVector> {
        if self.has_counters {
            return None;
        }
        let others = self.latest.iter().filter(|&(author, _)| author != me);
        others.map(|(author, latest)| applied.covers(latest).then(|| (author, applied.of(author)))).collect()
    }
}

impl KeyBody {
    /// Takes the collection of a kind out, to be freed.
    pub fn take_collection(&mut self, kind: Kind) -> Option<Waste> {
        match self.map_mut(kind) {
            Some(place) => place.take().map(Waste::Map),
            None if kind == Kind::Stream => self.stream.take().map(Waste::Stream),
            None => self.list.take().map(Waste::List),
        }
    }

    /// How many elements there are, if there is one collection and nothing else.
    pub fn elements(&self) -> usize {
        let lengths = [
            self.hash.as_ref().map(|map| map.len()),
            self.set.as_ref().map(|map| map.len()),
            self.sorted_set.as_ref().map(|map| map.len()),
            self.list.as_ref().map(|list| list.len()),
            self.stream.as_ref().map(|stream| stream.len()),
        ];
        let collections = lengths.iter().filter(|length| length.is_some()).count();
        let is_alone = collections == 1 && self.string.is_none();
        if is_alone { lengths.iter().map(|length| length.unwrap_or(0)).sum() } else { 0 }
    }

    /// Begins to keep a summary when the collection has become large, and ends when it is no more.
    #[inline]
    pub fn note_size(&mut self, key_digest: u64) {
        let elements = self.elements();
        if self.summary.is_none() && elements >= LARGE_ELEMENTS_MIN {
            self.summary = Some(Box::new(Summary::of(self, key_digest)));
        } else if self.summary.is_some() && elements < LARGE_ELEMENTS_MIN / 2 {
            self.summary = None;
        }
    }

    /// Has the summary, if there is one, follow a change in place, with this stamp, of so much in the slot's digest.
    #[inline]
    pub fn note_change(&mut self, stamp: Stamp, digest: u64) {
        if let Some(summary) = &mut self.summary {
            summary.note(stamp, digest);
        }
    }
}

impl Site<'_> {
    /// Lets `work` change a body, and has its summary follow in what is added to the digest. What dots may be new is noted
    /// by whoever adds them.
    pub fn change_body(&mut self, body: &mut KeyBody, work: impl FnOnce(&mut KeyBody, &mut Self)) {
        self.begun = self.memory.digest;
        work(body, self);
        if let Some(summary) = &mut body.summary {
            summary.digest ^= self.begun ^ self.memory.digest;
        }
        body.note_size(self.key_digest);
    }

    /// Notes the dots that an operation may add.
    #[inline]
    pub fn note_operation(&self, body: &mut KeyBody, stamp: Stamp, operation: &Operation<'_>) {
        let Some(summary) = &mut body.summary else { return };
        match operation {
            // They add nothing, and what goes may be everything.
            Operation::Remove { .. }
            | Operation::Clear { .. }
            | Operation::ClearRange { .. }
            | Operation::ClearDatabase { .. } => {}
            Operation::Add { .. } => {
                summary.has_counters = true;
                summary.note(stamp, 0);
            }
            Operation::Put { .. }
            | Operation::Live { .. }
            | Operation::LiveField { .. }
            | Operation::Patch { .. }
            | Operation::RemoveFolded { .. } => summary.note(stamp, 0),
        }
    }

    /// Makes the summary of a body that has taken over the elements of another right: they add `elements` to the slot's
    /// digest, which was `before` when this change of the body began. What changed since is about to be added.
    pub fn settle_summary(&self, body: &mut KeyBody, elements: u64, before: u64) {
        let lives = digest_of_lives(&body.lives, self.key_digest);
        if let Some(summary) = &mut body.summary {
            summary.digest = elements ^ lives ^ before ^ self.memory.digest;
        }
    }

    /// Removes a large collection whose every element a clear has observed, in one step. False if it is not that simple and
    /// nothing was done.
    pub fn clear_at_once(&mut self, body: &mut KeyBody, kind: Kind, stamp: Stamp, covered: &VersionVector) -> bool {
        let Some(summary) = &body.summary else { return false };
        if !body.holds(kind) || body.elements() == 0 || !summary.is_observed(stamp, covered) {
            return false;
        }
        // With what operations before this one of the same change have done.
        let digest = summary.digest ^ self.begun ^ self.memory.digest;
        debug_assert_eq!(digest, Summary::of(body, self.key_digest).digest, "a summary follows each change");
        let waste = body.take_collection(kind);
        body.summary = None;
        self.memory.digest ^= digest ^ digest_of_lives(&body.lives, self.key_digest);
        waste.into_iter().for_each(|waste| self.shared.garbage.put(waste));
        true
    }
}

/// What the assertions about a key's life add to the slot's digest.
pub(crate) fn digest_of_lives(lives: &[(Stamp, Lifetime)], key_digest: u64) -> u64 {
    let life = digest_of_element(key_digest, 0, &[]);
    lives.iter().fold(0, |sum, &(dot, lifetime)| sum ^ digest_of_life(life, dot, lifetime))
}

#[cfg(test)]
mod tests {
    use super::LARGE_ELEMENTS_MIN;
    use crate::pair::{DB, NOW, Side};
    use crate::{Delta, End, Lifetime, NewLifetime};
    use crdt::Kind;

    const KEY: &[u8] = b"k";
    const KINDS: [Kind; 4] = [Kind::Hash, Kind::Set, Kind::SortedSet, Kind::List];

    impl Side {
        fn delete(&mut self) {
            self.command(&[KEY], |access| assert!(access.delete(DB, KEY)));
        }

        fn has_summary(&self) -> bool {
            let slot = self.keyspace.slot(crate::slot_of(KEY));
            let entry = slot.find(&self.keyspace.shared, DB.0, KEY).expect("the key is there");
            match entry.view() {
                crate::entry::View::Wide(body) => body.summary.is_some(),
                _ => false,
            }
        }

        /// How many elements there are.
        fn len(&mut self, kind: Kind) -> usize {
            let mut access = self.writer.access(NOW, &[KEY]);
            access.begin_command();
            match kind {
                Kind::List => access.list(DB, KEY).unwrap().map_or(0, |list| list.len()),
                Kind::SortedSet => access.sorted_set(DB, KEY).unwrap().map_or(0, |members| members.len()),
                kind => access.elements(DB, KEY, kind).unwrap().map_or(0, |elements| elements.len()),
            }
        }
    }

    /// Two nodes that have both written to one large collection and know it.
    fn pair(kind: Kind) -> (Side, Side) {
        let (mut one, mut other) = (Side::new(1), Side::new(2));
        one.add(kind, KEY, 0..2 * LARGE_ELEMENTS_MIN);
        one.tell(&other);
        other.add(kind, KEY, LARGE_ELEMENTS_MIN..3 * LARGE_ELEMENTS_MIN);
        other.tell(&one);
        assert!(one.has_summary() && other.has_summary() && one.digest(KEY) == other.digest(KEY));
        [&one, &other].iter().for_each(|side| side.keyspace.free_later(|| {}));
        (one, other)
    }

    #[test]
    fn a_large_collection_goes_by_a_vector_and_leaves_nothing() {
        for kind in KINDS {
            let (mut one, other) = pair(kind);
            one.delete();
            let batches = one.tell(&other);
            assert!(batches[0].payload.len() < 64, "{kind:?}: {} bytes", batches[0].payload.len());
            for side in [&one, &other] {
                assert_eq!((side.digest(KEY), side.keyspace.len(DB.0)), (0, 0), "{kind:?}");
                assert_eq!(side.keyspace.garbage().objects, 1, "{kind:?}: no element was looked at");
            }
        }
    }

    #[test]
    fn what_a_removal_has_not_observed_stays() {
        for kind in KINDS {
            let (mut one, mut other) = pair(kind);
            other.add(kind, KEY, 5 * LARGE_ELEMENTS_MIN..5 * LARGE_ELEMENTS_MIN + 3);
            one.delete();
            one.tell(&other);
            other.tell(&one);
            assert_eq!((one.len(kind), other.len(kind)), (3, 3), "{kind:?}");
            assert_eq!(one.digest(KEY), other.digest(KEY), "{kind:?}");
        }
    }

    /// One write to the hash or list, drawn from a word.
    fn write(side: &mut Side, kind: Kind, word: u64) {
        let name = format!("element {}", (word >> 16) % (3 * LARGE_ELEMENTS_MIN as u64)).into_bytes();
        let lifetime = if word & 1 == 0 { Lifetime::Never } else { Lifetime::Until(NOW + (word >> 40)) };
        let mut access = side.writer.access(NOW, &[KEY]);
        access.begin_command();
        match ((word >> 8) % 10, kind) {
            (0..=4, Kind::List) => access.push(DB, KEY, End::Head, [&*name]).map(drop),
            (5..=6, Kind::List) => access.pop(DB, KEY, End::Tail, 1, &mut |_| {}).map(drop),
            (7, Kind::List) => access.rotate(DB, KEY, End::Tail).map(drop),
            (0..=4, _) => access.put_field(DB, KEY, &name, &word.to_le_bytes()).map(drop),
            (5..=6, _) => access.remove_field(DB, KEY, &name).map(drop),
            (7, _) => access.set_field_lifetime(DB, KEY, &name, lifetime).map(drop),
            (_, _) => {
                access.set_lifetime(DB, KEY, lifetime);
                Ok(())
            }
        }
        .unwrap();
    }

    /// Builds with assertions hold a summary against all elements whenever it is used.
    #[test]
    fn a_summary_follows_whatever_is_written() {
        for kind in [Kind::Hash, Kind::List] {
            let mut word = 1_u64;
            for round in 0..20 {
                let (mut one, mut other) = pair(kind);
                for _ in 0..200 {
                    word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    match word >> 61 {
                        0 => drop(one.tell(&other)),
                        1 => drop(other.tell(&one)),
                        2..=4 => write(&mut one, kind, word),
                        _ => write(&mut other, kind, word),
                    }
                }
                one.tell(&other);
                other.tell(&one);
                assert_eq!(one.digest(KEY), other.digest(KEY), "{kind:?}, round {round}");
                one.delete();
                one.tell(&other);
                for side in [&one, &other] {
                    assert_eq!((side.digest(KEY), side.keyspace.len(DB.0)), (0, 0), "{kind:?}, round {round}");
                }
            }
        }
    }

    #[test]
    fn counters_in_it_are_taken_back_by_name() {
        let (mut one, mut other) = pair(Kind::Hash);
        let add = |side: &mut Side| {
            let mut access = side.writer.access(NOW, &[KEY]);
            access.begin_command();
            access.add_to_field(DB, KEY, b"counter", Delta::Integer(5)).unwrap();
        };
        add(&mut one);
        one.tell(&other);
        add(&mut other);
        one.delete();
        one.tell(&other);
        other.tell(&one);
        assert_eq!((one.len(Kind::Hash), other.len(Kind::Hash)), (1, 1), "the increment that was not observed is left");
        assert_eq!(one.digest(KEY), other.digest(KEY));
    }

    #[test]
    fn it_goes_with_its_database_too_and_with_a_write_over_it() {
        for kind in KINDS {
            let (mut one, other) = pair(kind);
            {
                let mut access = one.writer.access(NOW, &[KEY]);
                access.begin_command();
                access.put_string(DB, KEY, b"text", NewLifetime::Set(Lifetime::Never));
            }
            one.tell(&other);
            assert_eq!(one.digest(KEY), other.digest(KEY), "{kind:?}");
            one.delete();
            one.add(kind, KEY, 0..LARGE_ELEMENTS_MIN + 1);
            one.tell(&other);
            {
                let mut access = one.writer.access_none(NOW);
                access.begin_command();
                access.clear(Some(DB));
            }
            one.tell(&other);
            for side in [&one, &other] {
                assert_eq!((side.digest(KEY), side.keyspace.len(DB.0)), (0, 0), "{kind:?}");
                assert_eq!(side.keyspace.garbage().objects, 2, "{kind:?}: no element was looked at");
            }
        }
    }

    #[test]
    fn what_is_removed_waits_for_whoever_frees_it() {
        let (mut one, _) = pair(Kind::Set);
        one.delete();
        let waiting = one.keyspace.garbage();
        assert!(waiting.objects == 1 && waiting.bytes > 0, "{waiting:?}");
        assert!(one.keyspace.free_one(&mut || {}) && !one.keyspace.free_one(&mut || {}));
        let after = one.keyspace.garbage();
        assert_eq!((after.objects, after.bytes, after.freed), (0, 0, 1));
    }

    #[test]
    fn what_is_freed_goes_from_the_figure_as_it_goes() {
        for kind in KINDS {
            let (mut one, _) = pair(kind);
            one.add(kind, KEY, 0..8_000);
            one.delete();
            let mut figures = vec![one.keyspace.garbage().bytes];
            let garbage = &one.keyspace;
            assert!(garbage.free_one(&mut || figures.push(garbage.garbage().bytes)));
            assert!(figures.is_sorted_by(|before, after| before >= after), "{kind:?}: {figures:?}");
            let between = figures[1..].iter().filter(|&&bytes| 0 < bytes && bytes < figures[0]).count();
            assert!(between > 1, "{kind:?}: {figures:?}");
            assert_eq!(garbage.garbage().bytes, 0);
        }
    }
}

//! The pending list of a consumer group in this region: entries that were delivered to a consumer and that nobody has
//! acknowledged, by id and by consumer.

use crdt::{EntryDot, Stamp, StreamId, UnixMillis};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// Who reads for a group here, and what each has not acknowledged yet.
#[derive(Clone, Debug, Default)]
pub struct PendingList {
    by_id: BTreeMap<StreamId, Pending>,
    /// By number; one that was deleted leaves its place to the next.
    consumers: Vec<Option<Consumer>>,
    numbers: BTreeMap<Box<[u8]>, ConsumerNumber>,
    /// Places that deleted ones have left.
    free: Vec<ConsumerNumber>,
}

/// An entry that was delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    /// The stamp of the entry, which may be gone.
    pub stamp: Stamp,
    /// When it was delivered the last time.
    pub delivered_ms: UnixMillis,
    /// How often it was delivered.
    pub deliveries: u64,
    /// To whom.
    pub consumer: ConsumerNumber,
}

/// Who reads for a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Consumer {
    /// Its name.
    pub name: Box<[u8]>,
    /// When it asked for something the last time.
    pub seen_ms: UnixMillis,
    /// What it was given and has not acknowledged.
    pub ids: BTreeSet<StreamId>,
}

/// Which of the consumers of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ConsumerNumber(u32);

impl PendingList {
    /// How many entries are pending.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether nothing is pending.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// A pending entry.
    pub fn find(&self, id: StreamId) -> Option<&Pending> {
        self.by_id.get(&id)
    }

    /// A pending entry, to be changed.
    pub fn find_mut(&mut self, id: StreamId) -> Option<&mut Pending> {
        self.by_id.get_mut(&id)
    }

    /// The pending entries with these ids, in order.
    pub fn range(&self, ids: RangeInclusive<StreamId>) -> impl DoubleEndedIterator<Item = (StreamId, &Pending)> {
        // An empty range would be refused.
        let ids = if ids.start() > ids.end() { StreamId::MAX..=StreamId::MAX } else { ids };
        self.by_id.range(ids).map(|(id, pending)| (*id, pending))
    }

    /// The greatest id that is pending.
    pub fn last_id(&self) -> Option<StreamId> {
        self.by_id.last_key_value().map(|(id, _)| *id)
    }

    /// The consumers, in the order of their names.
    pub fn consumers(&self) -> impl ExactSizeIterator<Item = &Consumer> {
        self.numbers.values().map(|number| self.consumer(*number).expect("a name stands for a consumer that is there"))
    }

    /// The number of the consumer with this name.
    pub fn number_of(&self, name: &[u8]) -> Option<ConsumerNumber> {
        self.numbers.get(name).copied()
    }

    /// A consumer.
    pub fn consumer(&self, number: ConsumerNumber) -> Option<&Consumer> {
        self.consumers.get(number.0 as usize)?.as_ref()
    }

    /// The consumer with this name, there or not before; and whether it was not.
    pub fn enter(&mut self, name: &[u8], now: UnixMillis) -> (ConsumerNumber, bool) {
        if let Some(number) = self.number_of(name) {
            return (number, false);
        }
        let consumer = Consumer { name: name.into(), seen_ms: now, ids: BTreeSet::new() };
        let number = self.free.pop().unwrap_or_else(|| {
            self.consumers.push(None);
            ConsumerNumber(u32::try_from(self.consumers.len() - 1).unwrap_or(u32::MAX))
        });
        if let Some(place) = self.consumers.get_mut(number.0 as usize) {
            *place = Some(consumer);
        }
        self.numbers.insert(name.into(), number);
        (number, true)
    }

    /// Notes that a consumer has asked for something.
    pub fn note_seen(&mut self, number: ConsumerNumber, now: UnixMillis) {
        if let Some(Some(consumer)) = self.consumers.get_mut(number.0 as usize) {
            consumer.seen_ms = now;
        }
    }

    /// Forgets a consumer and what is pending for it. How many entries those were; nothing if there is no such consumer.
    pub fn delete(&mut self, name: &[u8]) -> Option<usize> {
        let number = self.numbers.remove(name)?;
        let consumer = self.consumers.get_mut(number.0 as usize)?.take()?;
        self.free.push(number);
        for id in &consumer.ids {
            self.by_id.remove(id);
        }
        Some(consumer.ids.len())
    }

    /// Gives an entry to a consumer, whoever had it before.
    pub fn assign(&mut self, id: StreamId, pending: Pending) {
        if let Some(before) = self.by_id.insert(id, pending)
            && before.consumer != pending.consumer
            && let Some(Some(consumer)) = self.consumers.get_mut(before.consumer.0 as usize)
        {
            consumer.ids.remove(&id);
        }
        if let Some(Some(consumer)) = self.consumers.get_mut(pending.consumer.0 as usize) {
            consumer.ids.insert(id);
        }
    }

    /// The entries were put again by one change with this stamp.
    pub fn put_again(&mut self, stamp: Stamp) {
        self.by_id.values_mut().for_each(|pending| pending.stamp = stamp);
    }

    /// Takes an entry out.
    pub fn release(&mut self, id: StreamId) -> Option<Pending> {
        let pending = self.by_id.remove(&id)?;
        if let Some(Some(consumer)) = self.consumers.get_mut(pending.consumer.0 as usize) {
            consumer.ids.remove(&id);
        }
        Some(pending)
    }

    /// Takes out the entries with these ids that `is_done` says so of.
    pub fn release_done(&mut self, ids: RangeInclusive<StreamId>, is_done: impl Fn(EntryDot) -> bool) {
        let done = self.range(ids).filter(|(id, pending)| is_done(EntryDot { stamp: pending.stamp, id: *id }));
        let done: Vec<StreamId> = done.map(|(id, _)| id).collect();
        for id in done {
            self.release(id);
        }
    }

    /// Bytes on the heap, about: those of trees are estimated by what they hold.
    pub fn heap_bytes(&self) -> usize {
        let entries = self.by_id.len() * (size_of::<(StreamId, Pending)>() + size_of::<StreamId>());
        let names: usize = self.consumers().map(|consumer| 2 * consumer.name.len()).sum();
        let places = self.consumers.capacity() * size_of::<Option<Consumer>>();
        entries + names + places + self.free.capacity() * size_of::<ConsumerNumber>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64) -> StreamId {
        StreamId::new(ms, 0)
    }

    fn pending(consumer: ConsumerNumber) -> Pending {
        Pending { stamp: Stamp::from_bits(1), delivered_ms: 7, deliveries: 1, consumer }
    }

    fn ids_of(list: &PendingList, name: &[u8]) -> Vec<u64> {
        let consumer = list.consumer(list.number_of(name).unwrap()).unwrap();
        consumer.ids.iter().map(|id| id.ms).collect()
    }

    #[test]
    fn an_entry_belongs_to_the_consumer_that_it_was_given_to_last() {
        let mut list = PendingList::default();
        let (ann, is_new) = list.enter(b"ann", 1);
        assert!(is_new && !list.enter(b"ann", 2).1);
        let (bob, _) = list.enter(b"bob", 1);
        (1..=4).for_each(|ms| list.assign(id(ms), pending(ann)));
        list.assign(id(2), pending(bob));
        assert_eq!((ids_of(&list, b"ann"), ids_of(&list, b"bob")), (vec![1, 3, 4], vec![2]));
        assert_eq!(list.release(id(3)).map(|pending| pending.consumer), Some(ann));
        assert_eq!((list.release(id(3)), list.len()), (None, 3));
        list.release_done(id(1)..=id(2), |dot| dot.id == id(2));
        assert_eq!((ids_of(&list, b"ann"), ids_of(&list, b"bob")), (vec![1, 4], vec![]));
        // A range without an id in it.
        assert_eq!(list.range(id(4)..=id(1)).count(), 0);
    }

    #[test]
    fn a_deleted_consumer_takes_along_what_was_pending_for_it_and_leaves_its_number() {
        let mut list = PendingList::default();
        let numbers: Vec<ConsumerNumber> =
            [&b"ann"[..], b"bob", b"eve"].iter().map(|name| list.enter(name, 1).0).collect();
        (1..=6).for_each(|ms| list.assign(id(ms), pending(numbers[ms as usize % 3])));
        assert_eq!((list.delete(b"bob"), list.delete(b"bob"), list.len()), (Some(2), None, 4));
        assert_eq!(list.enter(b"zoe", 1), (numbers[1], true));
        assert_eq!(ids_of(&list, b"zoe"), Vec::<u64>::new());
        let names: Vec<&[u8]> = list.consumers().map(|consumer| &*consumer.name).collect();
        assert_eq!(names, [&b"ann"[..], b"eve", b"zoe"]);
    }
}

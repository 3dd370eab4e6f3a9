//! What a consumer group has delivered in this region.
//!
//! Everything up to the last delivered id was delivered here, or needed not be, except for the entries that came *late*:
//! those of other regions that arrived with a lower id when this region had gone on already. They are kept by their ids
//! until somebody reads them, so that reading new entries passes over none.

use super::counting::StreamCounts;
use super::pending::{ConsumerNumber, Pending, PendingList};
use super::regional::{EntryDots, Known};
use crdt::{DotSet, EntryDot, GroupStart, Stamp, StreamId, UnixMillis};
use std::collections::BTreeMap;

/// What a group has delivered here, to whom, and what of it nobody has acknowledged.
#[derive(Clone, Debug, Default)]
pub struct Delivery {
    /// The start of the group as it was when this was made or looked at the last time.
    pub(super) judged: Vec<GroupStart>,
    /// What was acknowledged in rounds that have ended since: it is not pending any more, or was not delivered at all.
    pub(super) ended: DotSet,
    pub(super) last_id: StreamId,
    pub(super) entries_read: Option<u64>,
    /// Entries with ids up to the last delivered one that were not delivered here.
    pub(super) late: BTreeMap<StreamId, Stamp>,
    /// Ids that a client wanted to pass over before there were entries with them: those beyond the first of both.
    pub(super) passed_over: Option<(StreamId, StreamId)>,
    /// Whether the stream's ids went back at some time (`XSETID`), so that later entries of an author may have lower ids.
    pub(super) ids_went_back: bool,
    /// Consumers and what is pending for them.
    pub pending: PendingList,
}

impl Delivery {
    /// A group that has delivered nothing here, whose creator has just seen everything that is here up to its start.
    pub(super) fn beginning(starts: &[GroupStart]) -> Self {
        let mut delivery = Self::default();
        delivery.begin(starts);
        delivery
    }

    /// Begins again at the start, with nothing that came late; what is pending stays.
    pub(super) fn begin(&mut self, starts: &[GroupStart]) {
        self.judged = starts.to_vec();
        self.ended = DotSet::default();
        self.last_id = starts.iter().map(|start| start.id).min().unwrap_or_default();
        self.entries_read = starts.last().and_then(|start| start.entries_read);
        self.late.clear();
        self.passed_over = None;
    }

    /// The last delivered id.
    pub fn last_id(&self) -> StreamId {
        self.last_id
    }

    /// The first entry with an id up to the last delivered one that was not delivered here.
    pub fn first_late(&self) -> Option<StreamId> {
        self.late.keys().next().copied()
    }

    /// Redis' counter of entries read, if it can be told.
    pub fn entries_read(&self) -> Option<u64> {
        self.entries_read
    }

    /// Sets the last delivered id if it is greater. What lies between counts as delivered, also what is not there yet:
    /// what has a greater id than `top`, the last one of the stream.
    pub(super) fn raise_last_id(&mut self, id: StreamId, top: StreamId) {
        if id > self.last_id {
            self.last_id = id;
            self.passed_over = (id > top).then_some((top, id));
        }
    }

    /// The group has other rounds than before. `acknowledged` is what was so in them.
    pub(super) fn rounds_changed(&mut self, acknowledged: &DotSet, known: &Known) {
        acknowledged.iter().for_each(|range| {
            self.ended.insert(*range);
        });
        self.release_done(StreamId::ZERO, StreamId::MAX, |dot| known.acknowledged.contains(dot));
    }

    /// Whether nothing has become of the group's rounds that [`Delivery::settle`] has not taken notice of.
    fn is_settled(&self, known: &Known) -> bool {
        self.ended.is_empty() && self.judged.iter().map(|start| start.round).eq(known.rounds())
    }

    /// Takes notice of what has become of the group's start since this was made or looked at: of a new round, of another
    /// group by the same name, and of one that another region has created by this name at the same time.
    pub(super) fn settle(&mut self, known: &Known, entries: &impl EntryDots) {
        if self.is_settled(known) {
            return;
        }
        let (before, now) = (&self.judged, &known.starts);
        if !now.iter().any(|start| before.iter().any(|before| before.created == start.created)) {
            self.pending = PendingList::default();
        }
        let goes_on = now.iter().any(|start| before.iter().any(|before| before.round == start.round));
        let (before, ended) = (std::mem::take(&mut self.judged), std::mem::take(&mut self.ended));
        if !goes_on {
            self.begin(now);
        }
        // Entries that were before the start and now are not, since nobody who created the group had seen them; and those
        // that were acknowledged and now are not, since it was in a round that has ended.
        for dot in entries.dots_from(StreamId::ZERO).take_while(|dot| dot.id <= self.last_id) {
            let was_delivered = goes_on && !is_before(&before, dot) && !ended.contains(dot);
            if !was_delivered && !known.is_done(dot) && self.pending.find(dot.id).is_none() {
                self.late.insert(dot.id, dot.stamp);
            }
        }
        self.judged.clone_from(now);
    }

    /// The head of the stream says another last id than before, which may be lower than it was. What is pending with a
    /// greater id than the stream ever had, `last_id`, tells the same.
    pub(super) fn head_changed(&mut self, has_gone_back: bool, last_id: StreamId) {
        self.ids_went_back |= has_gone_back || self.pending.last_id() > Some(last_id);
    }

    /// An entry is there that was not before.
    pub(super) fn entry_appeared(&mut self, known: &Known, dot: EntryDot) {
        let is_passed_over = self.passed_over.is_some_and(|(top, last)| top < dot.id && dot.id <= last);
        // SUBTLE: what is done with in rounds that nobody has taken notice of may be so no more when somebody does.
        let is_done = || self.is_settled(known) && known.is_done(dot);
        if dot.id <= self.last_id && !is_passed_over && !is_done() {
            self.late.insert(dot.id, dot.stamp);
        }
    }

    /// Entries were acknowledged, all of them with ids from `from` to `to` if ids have never gone back: then those with
    /// other ids are not looked at.
    pub(super) fn release_done(&mut self, from: StreamId, to: StreamId, is_done: impl Fn(EntryDot) -> bool) {
        let (from, to) = if self.ids_went_back { (StreamId::ZERO, StreamId::MAX) } else { (from, to) };
        if from > to {
            return;
        }
        self.pending.release_done(from..=to, &is_done);
        let late = self.late.range(from..=to).filter(|(id, stamp)| is_done(EntryDot { stamp: **stamp, id: **id }));
        let done: Vec<StreamId> = late.map(|(id, _)| *id).collect();
        for id in done {
            self.late.remove(&id);
        }
    }

    /// Passes the next entries that are to be delivered to `each`, at most so many.
    pub(super) fn take_new(
        &mut self,
        known: &Known,
        entries: &impl EntryDots,
        counts: &StreamCounts,
        count_max: usize,
        each: &mut dyn FnMut(EntryDot),
    ) {
        let mut taken = 0;
        while taken < count_max
            && let Some((id, stamp)) = self.late.pop_first()
        {
            if !known.is_done(EntryDot { stamp, id }) {
                each(EntryDot { stamp, id });
                taken += 1;
                self.entries_read = self.entries_read.map(|read| read.saturating_add(1));
            }
        }
        if self.last_id == StreamId::MAX {
            return;
        }
        let next = self.last_id.next().unwrap_or(StreamId::MAX);
        for dot in entries.dots_from(next) {
            let is_new = !known.is_done(dot);
            if is_new && taken == count_max {
                break;
            }
            self.entries_read = counts.after_reading(self.entries_read, dot.id);
            self.last_id = dot.id;
            if is_new {
                each(dot);
                taken += 1;
            }
        }
    }

    /// An entry is delivered otherwise than in its turn.
    pub(super) fn take_late(&mut self, id: StreamId) {
        if self.late.remove(&id).is_some() {
            self.entries_read = self.entries_read.map(|read| read.saturating_add(1));
        }
    }

    /// What is to be delivered.
    pub(super) fn new_ids(&self, known: &Known, entries: &impl EntryDots) -> Vec<StreamId> {
        let late = self.late.iter().map(|(id, stamp)| EntryDot { stamp: *stamp, id: *id });
        let behind = self.last_id.next().into_iter().flat_map(|next| entries.dots_from(next));
        late.chain(behind).filter(|dot| !known.is_done(*dot)).map(|dot| dot.id).collect()
    }

    /// Notes that an entry was given to a consumer.
    pub fn deliver(&mut self, dot: EntryDot, consumer: ConsumerNumber, now: UnixMillis) {
        self.pending.assign(dot.id, Pending { stamp: dot.stamp, delivered_ms: now, deliveries: 1, consumer });
    }

    /// The entries were put again by one change with this stamp, in a stream whose group of this name begins like this.
    pub(super) fn put_again(&mut self, starts: &[GroupStart], stamp: Stamp) {
        self.judged = starts.to_vec();
        self.late.values_mut().for_each(|late| *late = stamp);
        self.pending.put_again(stamp);
    }

    /// Bytes on the heap, about.
    pub(super) fn heap_bytes(&self) -> usize {
        let judged = self.judged.capacity() * size_of::<GroupStart>() + self.ended.heap_bytes();
        judged + self.late.len() * size_of::<EntryDot>() + self.pending.heap_bytes()
    }
}

/// Whether an entry was before the start of a group that began like this: for all who created it at once.
pub(super) fn is_before(starts: &[GroupStart], dot: EntryDot) -> bool {
    !starts.is_empty() && starts.iter().all(|start| start.is_before(dot))
}

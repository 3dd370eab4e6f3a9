//! A group together with the entries of its stream: what a command does to it in this region.

use super::counting::StreamCounts;
use super::delivery::{Delivery, is_before};
use super::folding::Folded;
use super::pending::{ConsumerNumber, Pending};
use super::regional::{EntryDots, GroupState, Others};
use super::regional_image::KeptDeliveries;
use super::{Entries, Stream};
use crdt::{Element, EntryDot, StreamId, StreamName, UnixMillis};
use std::collections::{BTreeMap, HashSet};

/// A group of a stream.
pub struct GroupMut<'a> {
    state: &'a mut GroupState,
    shown: Shown<'a>,
    others: &'a Others,
    counts: StreamCounts,
}

/// The entries of a stream as readers see them.
#[derive(Clone, Copy)]
struct Shown<'a> {
    entries: &'a Entries,
    wide: Option<&'a BTreeMap<StreamId, Element>>,
}

/// How entries become pending for another consumer (`XCLAIM`).
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// Only those that were delivered so long ago, in milliseconds.
    pub idle_ms_min: u64,
    /// When they count as delivered.
    pub delivered_ms: UnixMillis,
    /// How often they count as delivered; nothing is once more than before.
    pub deliveries: Option<u64>,
    /// Whether those too that are pending for nobody.
    pub forces: bool,
    /// Whether the count of deliveries stays, if it is not given.
    pub is_quiet: bool,
}

/// What came of a walk over what is pending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OverRange {
    /// Entries that are pending for the consumer now.
    pub claimed: Vec<StreamId>,
    /// Entries that are gone from the stream, and are not pending any more.
    pub gone: Vec<StreamId>,
    /// Where to go on; nothing at the end.
    pub next: Option<StreamId>,
}

impl EntryDots for Shown<'_> {
    fn dots_from(&self, id: StreamId) -> impl Iterator<Item = EntryDot> {
        self.entries.items_from(id).map(|item| self.dot_of_item(item.id, item.dot))
    }

    fn dots_back_before(&self, id: StreamId) -> impl Iterator<Item = EntryDot> {
        let last = id.previous();
        last.into_iter()
            .flat_map(|last| self.entries.items_back_from(last))
            .map(|item| self.dot_of_item(item.id, item.dot))
    }

    fn dot_of(&self, id: StreamId) -> Option<EntryDot> {
        self.dots_from(id).next().filter(|dot| dot.id == id)
    }
}

impl Shown<'_> {
    fn dot_of_item(&self, id: StreamId, stamp: crdt::Stamp) -> EntryDot {
        let wide = self.wide.and_then(|wide| wide.get(&id)).and_then(Element::winner);
        EntryDot { stamp: wide.map_or(stamp, |(dot, _)| *dot), id }
    }
}

impl Stream {
    /// What is known of the ids.
    pub fn counts(&mut self) -> StreamCounts {
        if self.is_added_stale {
            (self.added, self.is_added_stale) = (self.told(), false);
        }
        StreamCounts {
            length: self.len() as u64,
            added: self.added.sum().wrapping_add_signed(self.head.offset),
            first: self.entries.first_id().unwrap_or_default(),
            last: self.last_id(),
            max_deleted: self.head.max_deleted_id,
        }
    }

    /// All elements that are not entries.
    pub fn others(&self) -> &Others {
        &self.others
    }

    /// Whether anything is acknowledged, or was in a group that is gone.
    pub fn has_ranges(&self) -> bool {
        // Their names come last.
        let last = self.others.keys().next_back().and_then(|name| StreamName::of(name));
        matches!(last, Some(StreamName::Acknowledged { .. }))
    }

    /// The dots of all entries, as readers see them.
    pub fn dots(&self) -> impl Iterator<Item = EntryDot> {
        let shown = Shown { entries: &self.entries, wide: self.wide.as_deref() };
        self.entries.items().map(move |item| shown.dot_of_item(item.id, item.dot))
    }

    /// What was delivered here of the groups.
    pub fn deliveries(&mut self) -> KeptDeliveries {
        let shown = Shown { entries: &self.entries, wide: self.wide.as_deref() };
        self.regional.deliveries(&shown)
    }

    /// A group.
    pub fn group_mut(&mut self, name: &[u8]) -> Option<GroupMut<'_>> {
        let counts = self.counts();
        let shown = Shown { entries: &self.entries, wide: self.wide.as_deref() };
        let state = self.regional.group_mut(name)?;
        Some(GroupMut { state, shown, others: &self.others, counts })
    }
}

impl GroupMut<'_> {
    /// What was delivered here.
    pub fn delivery(&mut self) -> &mut Delivery {
        self.state.settled(&self.shown).1
    }

    /// How many entries it has before it, if that can be told.
    pub fn lag(&mut self) -> Option<i64> {
        let counts = self.counts;
        let delivery = self.delivery();
        counts.lag(delivery.entries_read(), delivery.last_id())
    }

    /// How many ranges say what is acknowledged.
    pub fn ranges(&self) -> usize {
        self.state.known().acknowledged.len()
    }

    /// Sets the last delivered id if it is greater. What lies between counts as delivered.
    pub fn raise_last_id(&mut self, id: StreamId) {
        let top = self.counts.last;
        self.delivery().raise_last_id(id, top);
    }

    /// The group was created here, or begins again.
    pub(crate) fn begin_here(&mut self) {
        self.state.begin_here();
    }

    /// Entries that are to be delivered here.
    pub fn new_ids(&mut self) -> Vec<StreamId> {
        let (known, delivery) = self.state.settled(&self.shown);
        delivery.new_ids(known, &self.shown)
    }

    /// Entries that are there and before the start of the group.
    pub fn ids_before_start(&self) -> Vec<StreamId> {
        let dots = self.shown.dots_from(StreamId::ZERO);
        dots.filter(|dot| is_before(&self.state.known().starts, *dot)).map(|dot| dot.id).collect()
    }

    /// The next entries that are to be delivered, at most so many. They count as delivered.
    pub fn take_new(&mut self, count_max: usize) -> Vec<EntryDot> {
        let mut taken = Vec::new();
        let (known, delivery) = self.state.settled(&self.shown);
        delivery.take_new(known, &self.shown, &self.counts, count_max, &mut |dot| taken.push(dot));
        taken
    }

    /// What was delivered to a consumer before and is pending, with greater ids than this one; it counts as delivered once
    /// more, if it is still there.
    pub fn take_again(
        &mut self,
        consumer: ConsumerNumber,
        after: StreamId,
        count_max: usize,
        now: UnixMillis,
    ) -> Vec<StreamId> {
        let (_, delivery) = self.state.settled(&self.shown);
        let pending = &mut delivery.pending;
        let ids = pending.consumer(consumer).map(|consumer| &consumer.ids);
        let behind = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
        let ids: Vec<StreamId> = ids.iter().flat_map(|ids| ids.range(behind)).take(count_max).copied().collect();
        for &id in &ids {
            if let Some(pending) = pending.find_mut(id).filter(|_| self.shown.dot_of(id).is_some()) {
                pending.delivered_ms = now;
                pending.deliveries = pending.deliveries.saturating_add(1);
            }
        }
        ids
    }

    /// Makes an entry pending for the consumer called `name`, who is there from then on. Those that are gone from the stream
    /// are not pending any more, for anybody. Whether it is the consumer's now.
    pub fn claim(&mut self, name: &[u8], id: StreamId, claim: &Claim, now: UnixMillis) -> bool {
        let Some(dot) = self.shown.dot_of(id) else {
            self.delivery().pending.release(id);
            return false;
        };
        let delivery = self.delivery();
        let before = delivery.pending.find(id).copied();
        if before.is_none() && !claim.forces {
            return false;
        }
        if before.is_some_and(|before| now.saturating_sub(before.delivered_ms) < claim.idle_ms_min) {
            return false;
        }
        // What is pending was delivered: nobody is given it as new.
        delivery.take_late(id);
        let pending = &mut delivery.pending;
        let (consumer, _) = pending.enter(name, now);
        pending.note_seen(consumer, now);
        let once = before.map_or(1, |before| before.deliveries);
        let counted = if claim.is_quiet { once } else { once.saturating_add(1) };
        let deliveries = claim.deliveries.unwrap_or(counted);
        pending.assign(id, Pending { stamp: dot.stamp, delivered_ms: claim.delivered_ms, deliveries, consumer });
        true
    }

    /// Claims for the consumer called `name` what is pending from this id on, at most so many entries, and looks at no more
    /// than ten times as many.
    pub fn claim_from(
        &mut self,
        name: &[u8],
        from: StreamId,
        count_max: usize,
        claim: &Claim,
        now: UnixMillis,
    ) -> OverRange {
        let mut over = OverRange::default();
        let ids = self.delivery().pending.range(from..=StreamId::MAX).map(|(id, _)| id);
        let looks = count_max.saturating_mul(LOOKS_A_CLAIM);
        let ids: Vec<StreamId> = ids.take(looks.saturating_add(1)).collect();
        for (looked, id) in ids.into_iter().enumerate() {
            if looked == looks || over.claimed.len() + over.gone.len() == count_max {
                over.next = Some(id);
                break;
            }
            if self.claim(name, id, claim, now) {
                over.claimed.push(id);
            } else if self.shown.dot_of(id).is_none() {
                over.gone.push(id);
            }
        }
        over
    }

    /// Takes these entries out of what is pending, and returns the dots of those that are acknowledged with it, and how
    /// many the client is told of.
    ///
    /// What was delivered by another region is not pending here: where there is another (`has_others`) an entry that is
    /// there counts as well, unless it was acknowledged already.
    pub(crate) fn release(&mut self, ids: &[StreamId], has_others: bool) -> (Vec<EntryDot>, usize) {
        let (known, delivery) = self.state.settled(&self.shown);
        let (mut dots, mut taken, mut count) = (Vec::new(), HashSet::new(), 0);
        for &id in ids {
            if let Some(pending) = delivery.pending.release(id) {
                count += 1;
                dots.push(EntryDot { stamp: pending.stamp, id });
                taken.insert(id);
                continue;
            }
            if !has_others || taken.contains(&id) {
                continue;
            }
            if let Some(dot) = self.shown.dot_of(id).filter(|dot| !known.is_done(*dot)) {
                delivery.late.remove(&id);
                taken.insert(id);
                count += 1;
                dots.push(dot);
            }
        }
        (dots, count)
    }

    /// Acknowledges entries, and says which elements of the stream change with that.
    pub(crate) fn fold(&mut self, dots: &[EntryDot]) -> Folded {
        self.state.fold(&self.shown, self.others, dots)
    }
}

/// Pending entries that are looked at for each that is asked for.
const LOOKS_A_CLAIM: usize = 10;

//! The consumer groups of a stream: what all regions know of them, decoded, and what this region keeps for itself.
//!
//! Replicated are a group's start and what is acknowledged, as elements of the stream that merge by the rules of all
//! elements. This file follows each of their changes, so that reading a group decodes nothing. What was delivered here,
//! to whom, and what is pending is the region's own: no digest knows it, and it goes with the group.

use super::delivery::{Delivery, is_before};
use super::regional_image::KeptDeliveries;
use crdt::{DotRange, DotSet, Element, EntryDot, GroupStart, Stamp, StreamId, StreamName};
use std::collections::BTreeMap;

/// The groups of a stream; nearly no stream has any, so it is one word.
#[derive(Debug, Default)]
pub struct Regional {
    #[expect(clippy::box_collection, reason = "nearly no stream has any, and each would have three words for them")]
    groups: Option<Box<BTreeMap<Box<[u8]>, GroupState>>>,
}

/// One group.
#[derive(Clone, Debug)]
pub struct GroupState {
    /// What all regions know of it.
    pub(super) known: Known,
    /// What was delivered here; nothing before anybody has asked for it here.
    pub(super) delivery: Option<Box<Delivery>>,
    /// How many ranges there are when those are looked for of which no entry is left.
    pub(super) ranges_looked_at: usize,
}

/// What all regions know of a group.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Its start, and those of others who created it at the same time; the latest last.
    pub(super) starts: Vec<GroupStart>,
    /// What was acknowledged.
    pub(super) acknowledged: DotSet,
}

/// The entries of a stream, as far as groups ask for them: as readers see them.
pub trait EntryDots {
    /// The entries from this id on.
    fn dots_from(&self, id: StreamId) -> impl Iterator<Item = EntryDot>;
    /// The entries before this id, the last one first.
    fn dots_back_before(&self, id: StreamId) -> impl Iterator<Item = EntryDot>;
    /// The entry with this id.
    fn dot_of(&self, id: StreamId) -> Option<EntryDot>;
}

/// The elements of a stream that are not entries.
pub type Others = BTreeMap<Box<[u8]>, Element>;

impl Known {
    /// Whether an entry is not to be delivered any more, anywhere.
    pub fn is_done(&self, dot: EntryDot) -> bool {
        is_before(&self.starts, dot) || self.acknowledged.contains(dot)
    }

    /// What readers see of the start.
    pub fn start(&self) -> &GroupStart {
        self.starts.last().expect("a group without a start is not kept")
    }

    /// Its rounds: of one who began it, or of several who did so at the same time.
    pub fn rounds(&self) -> impl Iterator<Item = u64> {
        self.starts.iter().map(|start| start.round)
    }

    /// Adds what is acknowledged in any of the group's rounds.
    fn read_acknowledged(&mut self, others: &Others) {
        for start in &self.starts {
            for (_, range) in ranges_of(others, start.round) {
                self.acknowledged.insert(range);
            }
        }
    }
}

impl Regional {
    /// The groups, in the order of their names.
    pub fn groups(&self) -> impl Iterator<Item = (&[u8], &GroupState)> {
        self.groups.iter().flat_map(|groups| groups.iter()).map(|(name, group)| (&**name, group))
    }

    /// A group.
    pub fn group(&self, name: &[u8]) -> Option<&GroupState> {
        self.groups.as_ref()?.get(name)
    }

    /// A group, to be changed.
    pub fn group_mut(&mut self, name: &[u8]) -> Option<&mut GroupState> {
        self.groups.as_mut()?.get_mut(name)
    }

    /// An entry is there that was not before, by a client here or from another region, perhaps with a lower id than others
    /// that are there; or another one by the same id is what readers see.
    #[inline]
    pub fn entry_appeared(&mut self, id: StreamId, stamp: Stamp) {
        for group in self.groups.iter_mut().flat_map(|groups| groups.values_mut()) {
            if let Some(delivery) = &mut group.delivery {
                delivery.entry_appeared(&group.known, EntryDot { stamp, id });
            }
        }
    }

    /// An entry has gone.
    #[inline]
    pub fn entry_removed(&mut self, id: StreamId) {
        for group in self.groups.iter_mut().flat_map(|groups| groups.values_mut()) {
            if let Some(delivery) = &mut group.delivery {
                delivery.late.remove(&id);
            }
        }
    }

    /// All entries up to an id have gone.
    pub fn entries_removed_up_to(&mut self, last: StreamId) {
        for group in self.groups.iter_mut().flat_map(|groups| groups.values_mut()) {
            if let Some(delivery) = &mut group.delivery {
                let behind = last.next().map(|next| delivery.late.split_off(&next));
                delivery.late = behind.unwrap_or_default();
            }
        }
    }

    /// The head of the stream has changed: whether its last id has gone back, and which is the stream's last id now.
    pub fn head_changed(&mut self, has_gone_back: bool, last_id: StreamId) {
        let groups = self.groups.iter_mut().flat_map(|groups| groups.values_mut());
        let deliveries = groups.filter_map(|group| group.delivery.as_mut());
        deliveries.for_each(|delivery| delivery.head_changed(has_gone_back, last_id));
    }

    /// An element that belongs to a group has changed, come or gone.
    pub fn element_changed(&mut self, name: &[u8], others: &Others) {
        match StreamName::of(name) {
            Some(StreamName::Group(group)) => self.group_changed(group, others.get(name), others),
            Some(StreamName::Acknowledged { round, first }) => {
                let values = others.get(name).map(|element| &element.siblings[..]).unwrap_or_default();
                let ranges = values.iter().filter_map(|(_, value)| DotRange::from_value(first, value));
                let last = ranges.map(|range| range.last).max();
                let group = self.groups.iter_mut().flat_map(|groups| groups.values_mut());
                let mut group = group.filter(|group| group.known.starts.iter().any(|start| start.round == round));
                if let (Some(last), Some(group)) = (last, group.next()) {
                    group.acknowledge(DotRange { first, last });
                }
            }
            Some(StreamName::Entry(_) | StreamName::Head) | None => {}
        }
    }

    /// Elements have gone, all at once.
    pub fn elements_retained(&mut self, others: &Others) {
        let names: Vec<Box<[u8]>> = self.groups().map(|(name, _)| name.into()).collect();
        for group in names {
            let name = StreamName::Group(&group).name();
            self.group_changed(&group, others.get(&*name), others);
        }
    }

    fn group_changed(&mut self, name: &[u8], element: Option<&Element>, others: &Others) {
        let mut dots: Vec<(Stamp, GroupStart)> = element.map_or_else(Vec::new, |element| {
            let starts = element.siblings.iter();
            starts.filter_map(|(dot, value)| Some((*dot, GroupStart::decode(value).ok()?))).collect()
        });
        dots.sort_unstable_by_key(|(dot, _)| *dot);
        let starts: Vec<GroupStart> = dots.into_iter().map(|(_, start)| start).collect();
        if starts.is_empty() {
            if let Some(groups) = &mut self.groups {
                groups.remove(name);
            }
            self.groups.take_if(|groups| groups.is_empty());
            return;
        }
        let groups = self.groups.get_or_insert_default();
        let group = groups.entry(name.into()).or_insert_with(|| GroupState {
            known: Known::default(),
            delivery: None,
            ranges_looked_at: RANGES_LOOKED_AT_MIN,
        });
        let before = std::mem::replace(&mut group.known.starts, starts);
        let acknowledged = std::mem::take(&mut group.known.acknowledged);
        group.known.read_acknowledged(others);
        if let Some(delivery) = &mut group.delivery
            && !before.iter().map(|start| start.round).eq(group.known.rounds())
        {
            delivery.rounds_changed(&acknowledged, &group.known);
        }
    }

    /// Takes over what was delivered of the groups of another key, whose entries were put here again by one change with
    /// this stamp.
    pub fn take_over(&mut self, from: KeptDeliveries, stamp: Stamp) {
        for (name, mut delivery) in from {
            let Some(group) = self.group_mut(&name) else { continue };
            delivery.put_again(&group.known.starts, stamp);
            group.delivery = Some(Box::new(delivery));
        }
    }

    /// What was delivered of groups, after notice was taken of what has become of their rounds.
    pub(super) fn deliveries(&mut self, entries: &impl EntryDots) -> KeptDeliveries {
        let groups = self.groups.iter_mut().flat_map(|groups| groups.iter_mut());
        let kept = groups.filter(|(_, group)| group.delivery.is_some());
        kept.map(|(name, group)| (name.clone(), group.settled(entries).1.clone())).collect()
    }

    /// Bytes on the heap, about.
    pub fn heap_bytes(&self) -> usize {
        let of = |(name, group): (&[u8], &GroupState)| name.len() + size_of::<GroupState>() + group.heap_bytes();
        self.groups().map(of).sum()
    }
}

impl GroupState {
    /// What all regions know of it.
    pub fn known(&self) -> &Known {
        &self.known
    }

    /// What was delivered here, if anybody has asked.
    pub fn delivery(&self) -> Option<&Delivery> {
        self.delivery.as_deref()
    }

    /// Takes in that a range is acknowledged, here or elsewhere.
    fn acknowledge(&mut self, range: DotRange) {
        // SUBTLE: ranges grow by their ends, so what is new begins where the known one ends. Else every acknowledgement
        // would look at all that is pending, as it does where later entries may have lower ids.
        let known = self.known.acknowledged.range_of(range.first);
        let is_bottom = range.first == EntryDot::bottom(range.author());
        let from = match known {
            Some(known) => known.last.id,
            None if is_bottom => StreamId::ZERO,
            None => range.first.id,
        };
        self.known.acknowledged.insert(range);
        if let Some(delivery) = &mut self.delivery {
            delivery.release_done(from, range.last.id, |dot| range.contains(dot));
        }
    }

    /// What was delivered here, begun if nobody has asked before, and what all regions know.
    pub(super) fn settled(&mut self, entries: &impl EntryDots) -> (&Known, &mut Delivery) {
        let delivery = self.delivery.get_or_insert_default();
        delivery.settle(&self.known, entries);
        (&self.known, delivery)
    }

    /// The group was created or begins again here, and everything that is here up to its start was seen.
    pub(super) fn begin_here(&mut self) {
        match &mut self.delivery {
            Some(delivery) => delivery.begin(&self.known.starts),
            None => self.delivery = Some(Box::new(Delivery::beginning(&self.known.starts))),
        }
    }

    fn heap_bytes(&self) -> usize {
        let delivery = self.delivery.as_ref().map_or(0, |delivery| size_of::<Delivery>() + delivery.heap_bytes());
        self.known.acknowledged.heap_bytes() + self.known.starts.capacity() * size_of::<GroupStart>() + delivery
    }
}

/// The ranges that belong to a round, with their names.
pub(super) fn ranges_of(others: &Others, round: u64) -> impl Iterator<Item = (&[u8], DotRange)> {
    let from = StreamName::of_round(round);
    let elements = others.range::<[u8], _>((std::ops::Bound::Included(&*from), std::ops::Bound::Unbounded));
    let of_round = elements.map_while(move |(name, element)| match StreamName::of(name)? {
        StreamName::Acknowledged { round: found, first } if found == round => Some((&**name, first, element)),
        StreamName::Entry(_) | StreamName::Head | StreamName::Group(_) | StreamName::Acknowledged { .. } => None,
    });
    of_round.flat_map(|(name, first, element)| {
        let values = element.siblings.iter();
        values.filter_map(move |(_, value)| Some((name, DotRange::from_value(first, value)?)))
    })
}

/// So few ranges are not worth a look.
pub(super) const RANGES_LOOKED_AT_MIN: usize = 8;

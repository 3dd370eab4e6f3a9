//! Applying batches of other nodes, group by group, and collecting what need not be remembered any more.

use crate::arrival::{Arrival, Form, NeededSlots};
use crate::awaited::Together;
use crate::beside::{Built, Plan};
use crate::body::only_map_in;
use crate::elements::ElementMap;
use crate::entry::fetch_line;
use crate::hash::{SLOTS, slot_of};
use crate::holds::Holder;
use crate::keyspace::{Keyspace, Place};
use crate::large::LargePut;
use crate::runs::run_of;
use crate::shared::{EndedNumber, Shared};
use crate::slot::Slot;
use crate::steps::Steps;
use crdt::{Changes, DecodeError, NodeNumber, Operations, PlainChange, Stamp, UnixMillis, VersionVector};
use std::collections::BTreeMap;

/// A batch that was read, with what its large changes put: built, and not in place yet.
pub struct Prepared {
    payload: Vec<u8>,
    /// By the number of the change in the batch.
    built: BTreeMap<usize, Built>,
}

impl Keyspace {
    /// Applies a batch whose predecessor and dependencies have been applied. `previous` and `last` are the batch's
    /// bounds. The whole payload is checked before anything is applied. Changes that the node's vector covers already
    /// are skipped. Keys that are being moved are waited for. Returns how many changes there were.
    pub fn apply(
        &self,
        origin: NodeNumber,
        previous: Stamp,
        last: Stamp,
        payload: &[u8],
        now: UnixMillis,
    ) -> Result<usize, DecodeError> {
        loop {
            match self.apply_with_pauses(origin, (previous, last), payload, now, &mut |_| ())? {
                Some(changes) => return Ok(changes),
                None => self.shared.frozen.wait(),
            }
        }
    }

    /// The same, and calls `pause` between groups, when no slot is locked, with whether somebody waits for one. Nothing if
    /// a key that it has to do with is being moved: then nothing was applied.
    pub fn apply_with_pauses(
        &self,
        origin: NodeNumber,
        (previous, last): (Stamp, Stamp),
        payload: &[u8],
        now: UnixMillis,
        pause: &mut dyn FnMut(bool),
    ) -> Result<Option<usize>, DecodeError> {
        self.apply_ready(origin, (previous, last), payload, None, now, pause)
    }

    /// Reads a batch and builds what its large changes put, which takes seconds for millions of elements: whoever has a
    /// thread for it need not do so where the batch is applied. Other changes are read when they are applied. `pause` lets
    /// others have their turn if that is due; nothing is locked when it is called.
    pub fn prepare(
        &self,
        origin: NodeNumber,
        previous: Stamp,
        payload: Vec<u8>,
        pause: &mut dyn FnMut(),
    ) -> Result<Prepared, DecodeError> {
        let mut built = BTreeMap::new();
        let mut steps = Steps::new(pause);
        for (number, change) in Changes::new(&payload, origin, previous).enumerate() {
            let change = change?;
            let Some(plan) = Plan::of(&change, &mut steps) else { continue };
            if plan.is_alone(&change, &self.slot(slot_of(change.key)), &self.shared) {
                built.insert(number, plan.build(&change, &self.shared, &mut steps));
            }
        }
        Ok(Prepared { payload, built })
    }

    /// As [`Keyspace::apply_with_pauses`], of a batch that was prepared. What was built is used up once it is applied.
    pub fn apply_prepared(
        &self,
        origin: NodeNumber,
        bounds: (Stamp, Stamp),
        Prepared { payload, built }: &mut Prepared,
        now: UnixMillis,
        pause: &mut dyn FnMut(bool),
    ) -> Result<Option<usize>, DecodeError> {
        self.apply_ready(origin, bounds, payload, Some(built), now, pause)
    }

    /// Applies a batch. What its large changes put is built now, if that was not done.
    fn apply_ready(
        &self,
        origin: NodeNumber,
        (previous, last): (Stamp, Stamp),
        payload: &[u8],
        mut ready: Option<&mut BTreeMap<usize, Built>>,
        now: UnixMillis,
        pause: &mut dyn FnMut(bool),
    ) -> Result<Option<usize>, DecodeError> {
        let is_built = |number: usize| ready.as_ref().is_some_and(|ready| ready.contains_key(&number));
        let changes = Arrival::of_batch(&self.shared, origin, (previous, last), payload, is_built)?;
        let still = self.still();
        let meets_frozen = |arrival: &Arrival<'_>| arrival.clears_database() || still.has_key(arrival.change.key);
        if still.has_frozen() && changes.iter().any(meets_frozen) {
            return Ok(None);
        }
        self.shared.set_now(now);
        self.shared.observe(last);
        let seen = self.applied().of(origin);
        let news = changes.partition_point(|arrival| arrival.change.stamp <= seen);
        // A stamp of our own marks what changes here, so that digests can say since when a slot has been as it is.
        let mark = self.shared.next_stamp(now);
        let mut needed = NeededSlots::default();
        let mut behind = news;
        for group in groups(&changes[news..]) {
            pause(self.is_waited_for());
            let first = behind;
            behind += group.len();
            if group.iter().all(|arrival| self.is_for_here(arrival)) {
                let take = |ready: &mut BTreeMap<usize, Built>| {
                    (first..behind).filter_map(|number| Some((number - first, ready.remove(&number)?))).collect()
                };
                let ready = ready.as_deref_mut().filter(|ready| !ready.is_empty()).map(take);
                self.apply_group(group, ready, &mut needed, mark, pause)?;
                continue;
            }
            let group: Vec<Arrival<'_>> = group.iter().filter(|arrival| self.is_for_here(arrival)).cloned().collect();
            self.apply_group(&group, None, &mut needed, mark, pause)?;
        }
        self.shared.raise(&[(origin, last)].into_iter().collect());
        Ok(Some(changes.len()))
    }

    /// Raises the vector, at the end of a state catch-up or when a removed node's entry is sealed.
    pub fn raise_applied(&self, vector: &VersionVector) {
        self.shared.observe(vector.latest());
        self.shared.raise(vector);
        self.prune();
    }

    /// Nothing of these numbers can come any more, and there are no others: what is remembered in case it comes is
    /// forgotten with the next [`Keyspace::prune`].
    pub fn note_ended(&self, numbers: Vec<EndedNumber>) {
        self.shared.note_ended(numbers);
    }

    /// The numbers of which nothing can come any more.
    pub fn ended(&self) -> Vec<EndedNumber> {
        self.shared.ended()
    }

    /// Forgets what slots have seen out of order and the vector has caught up with.
    pub fn prune(&self) {
        let applied = self.shared.settled_up_to();
        let mut mark = None;
        for slot in &self.slots {
            let mut slot = slot.lock();
            // A part is compared with nobody, and its images say the same whether the vector covers it or not.
            if slot.prune(&self.shared, &applied) && self.only.is_none() {
                let mark = *mark.get_or_insert_with(|| self.shared.next_stamp(self.shared.now()));
                slot.memory.changed = slot.memory.changed.max(mark);
            }
        }
    }

    /// Forgets the resets that their contributor is known to have applied: `known` says what a node has applied, all
    /// of whose own changes up to its entry there are here. Looks at slots from this one on until it `is_late`, and says where
    /// to go on; 0 after the last one.
    pub fn collect_resets<'v>(
        &self,
        from: u16,
        known: &dyn Fn(NodeNumber) -> Option<&'v VersionVector>,
        is_late: &dyn Fn() -> bool,
    ) -> u16 {
        if self.shared.resets() == 0 {
            return 0;
        }
        for (number, slot) in (0..).zip(&self.slots).skip(usize::from(from)) {
            let mut slot = slot.lock();
            let before = slot.memory.resets().len();
            // SUBTLE: a slot that is being merged needs those that came with it until the end.
            if before > 0 && !self.is_moving_in(number) {
                let resets = slot.memory.resets_mut();
                resets.retain(|name, reset| !known(name.node).is_some_and(|vector| vector.covers(reset.by)));
                self.shared.count_resets(resets.len() as i64 - before as i64);
                slot.memory.tidy();
                drop(slot);
                if is_late() {
                    return (number + 1) % SLOTS;
                }
            }
        }
        0
    }

    fn apply_group(
        &self,
        group: &[Arrival<'_>],
        ready: Option<Vec<(usize, Built)>>,
        needed: &mut NeededSlots,
        mark: Stamp,
        pause: &mut dyn FnMut(bool),
    ) -> Result<(), DecodeError> {
        if group.iter().any(Arrival::clears_database) {
            return self.apply_to_all(group, mark);
        }
        let tells = self.tells_arrivals();
        if !tells && run_of(group).len() == group.len() {
            return self.apply_run(group, mark);
        }
        let mut built = ready.unwrap_or_else(|| self.build_beside(group, pause)).into_iter().peekable();
        needed.find(group);
        for &number in &needed.numbers {
            fetch_line(&raw const self.slots[usize::from(number)]);
        }
        let mut slots = self.lock_slots(&needed.numbers);
        let _holding = self.shared.holds.begin(Holder::Apply);
        let _together = Together::begin();
        let needed_by = |at: usize| Some((usize::from(*needed.of_changes.get(at)?), at));
        let mut behind_run = 0;
        // The memory of each change is asked for some changes before its turn, one line after the other.
        for step in 0..group.len() + FETCHED_BEFORE {
            for (stage, fetch) in FETCHES.into_iter().enumerate() {
                let Some((slot, at)) = step.checked_sub(stage * FETCHED_APART).and_then(needed_by) else { continue };
                fetch(&slots[slot].1, &self.shared, &group[at]);
            }
            if let Some(at) = step.checked_sub(FETCHED_BEFORE).filter(|at| *at >= behind_run) {
                let slot = &mut slots[usize::from(needed.of_changes[at])].1;
                let run = if tells { &[] } else { run_of(&group[at..]) };
                if !run.is_empty() {
                    slot.apply_run(&self.shared, run, mark)?;
                    behind_run = at + run.len();
                    continue;
                }
                let ready = built.next_if(|(of, _)| *of == at).map(|(_, built)| built);
                self.apply_arrival(slot, &group[at], ready, mark)?;
            }
        }
        Ok(())
    }

    /// Applies a group in which a whole database is removed.
    fn apply_to_all(&self, group: &[Arrival<'_>], mark: Stamp) -> Result<(), DecodeError> {
        let mut slots = self.lock_all_slots();
        let _holding = self.shared.holds.begin(Holder::Apply);
        for arrival in group {
            if arrival.clears_database() {
                slots.iter_mut().try_for_each(|slot| self.apply_arrival(slot, arrival, None, mark))?;
            } else {
                self.apply_arrival(&mut slots[usize::from(arrival.place.slot)], arrival, None, mark)?;
            }
        }
        Ok(())
    }

    /// What the large changes of a group put, by the place of the change.
    fn build_beside(&self, group: &[Arrival<'_>], pause: &mut dyn FnMut(bool)) -> Vec<(usize, Built)> {
        let mut pause = || pause(self.is_waited_for());
        let build = |(place, arrival): (usize, &Arrival<'_>)| {
            let Arrival { change, place: Place { slot, .. }, form: Form::Operations(_) } = arrival else { return None };
            let mut steps = Steps::new(&mut pause);
            let plan = Plan::of(change, &mut steps)?;
            let is_alone = plan.is_alone(change, &self.slot(*slot), &self.shared);
            is_alone.then(|| (place, plan.build(change, &self.shared, &mut steps)))
        };
        group.iter().enumerate().filter_map(build).collect()
    }

    /// Applies a change to its slot, which is locked. `ready` is what it puts, if that was built beside.
    #[inline]
    fn apply_arrival(
        &self,
        slot: &mut Slot,
        arrival: &Arrival<'_>,
        ready: Option<Built>,
        mark: Stamp,
    ) -> Result<(), DecodeError> {
        slot.memory.changed = mark;
        let change = &arrival.change;
        let now = self.shared.now();
        let before = self.before_arrival(slot, change, now);
        let outline = ready.as_ref().map(|built| built.outline(change));
        match ready {
            Some(built) => built.put_in_place(change, slot, &self.shared)?,
            None => self.apply_to(slot, arrival)?,
        }
        match (before, outline) {
            (None, _) => {}
            (Some(before), Some(outline)) => {
                self.tell_arrival(slot, change, &mut outline.into_iter(), &before, now);
            }
            (Some(before), None) => {
                self.tell_arrival(slot, change, &mut Operations::of(change).flatten(), &before, now);
            }
        }
        Ok(())
    }

    #[inline]
    fn apply_to(&self, slot: &mut Slot, arrival: &Arrival<'_>) -> Result<(), DecodeError> {
        let Arrival { change, place, form } = arrival;
        let is_done = match *form {
            Form::Plain(PlainChange::Set(value)) => {
                slot.apply_plain_set_hashed(&self.shared, place.hash, change.stamp, change.database, change.key, value)
            }
            Form::Plain(PlainChange::Increment { birth, cumulative }) => {
                slot.apply_increment(&self.shared, place, change, birth, cumulative)
            }
            Form::Element(_) | Form::ClearsDatabase | Form::Operations(_) => false,
        };
        if is_done {
            return Ok(());
        }
        if let Some(put) = LargePut::of_change(change)
            && slot.put_large(&self.shared, change.database, change.key, &put)
        {
            return Ok(());
        }
        slot.apply(&self.shared, change)
    }
}

/// What a change needs, in the order in which one leads to the other: of its key the bucket, then the entry; of the field or
/// member that it writes the bucket, then the entry.
const FETCHES: [fn(&Slot, &Shared, &Arrival<'_>); 4] = [
    |slot, _, arrival| {
        if let Some(table) = slot.table(arrival.place.database) {
            table.fetch_bucket(arrival.place.hash);
        }
    },
    |slot, _, arrival| {
        if let Some(table) = slot.table(arrival.place.database) {
            table.fetch_entry(arrival.place.hash);
        }
    },
    |slot, shared, arrival| with_element(slot, arrival, |map, name| map.fetch_bucket(shared.hasher.hash(name))),
    |slot, shared, arrival| with_element(slot, arrival, |map, name| map.fetch_element(shared.hasher.hash(name))),
];

/// The fields or members among which the one is that a change writes, and its name.
#[inline]
fn with_element(slot: &Slot, arrival: &Arrival<'_>, then: impl FnOnce(&ElementMap, &[u8])) {
    let Form::Operations(Some(name)) = arrival.form else { return };
    let (place, key) = (&arrival.place, arrival.change.key);
    if let Some(map) = slot.table(place.database).and_then(|table| only_map_in(table, place.hash, key)) {
        then(map, name);
    }
}

/// So many changes lie between one of these fetches and the next.
const FETCHED_APART: usize = 8;
/// Changes of a group before whose turn the first of them is made.
const FETCHED_BEFORE: usize = FETCHES.len() * FETCHED_APART;

/// The groups of a batch: runs of changes that are tied to the next one.
fn groups<'c, 'a>(changes: &'c [Arrival<'a>]) -> impl Iterator<Item = &'c [Arrival<'a>]> {
    changes.chunk_by(|before, _| before.change.tied)
}

#[cfg(test)]
mod tests {
    use crate::{Database, Delta, Drain, Keyspace, Lifetime, NewLifetime};
    use crdt::{NodeNumber, VersionVector};

    const NOW: u64 = crdt::STAMP_EPOCH_MS + 1_000;

    #[test]
    fn between_two_groups_nothing_is_locked() {
        let (one, two) = (Keyspace::new(1), Keyspace::new(2));
        let number = NodeNumber::new(1).unwrap();
        one.set_number(number);
        two.set_number(NodeNumber::new(2).unwrap());
        let mut writer = one.writer();
        for round in 0..1_000_u32 {
            let mut access = writer.access(NOW, &[b"same"]);
            access.begin_command();
            access.put_string(Database(0), b"same", &round.to_le_bytes(), NewLifetime::Set(Lifetime::Never));
        }
        let (mut pauses, mut drain) = (0, Drain::default());
        for batch in drain.take(&one) {
            let mut pause = |is_waited_for: bool| {
                pauses += 1;
                assert!(!is_waited_for && two.slots.iter().all(|slot| slot.try_lock().is_some()));
            };
            let bounds = (batch.previous, batch.last);
            two.apply_with_pauses(number, bounds, &batch.payload, NOW, &mut pause).unwrap();
        }
        assert!(pauses > 1, "{pauses} pauses");
        assert_eq!(two.len(0), 1);
    }

    #[test]
    fn resets_are_forgotten_slot_by_slot_and_all_of_them() {
        let (one, two) = (Keyspace::new(1), Keyspace::new(2));
        let number = NodeNumber::new(1).unwrap();
        one.set_number(number);
        two.set_number(NodeNumber::new(2).unwrap());
        let (mut writer, mut other) = (one.writer(), two.writer());
        // As many slots as keys.
        let keys: Vec<Vec<u8>> = (0..5_u8).map(|number| vec![number]).collect();
        for key in &keys {
            let mut access = writer.access(NOW, &[key]);
            access.begin_command();
            access.add_to_string(Database(0), key, Delta::Integer(1));
        }
        for batch in Drain::default().take(&one) {
            two.apply(number, batch.previous, batch.last, &batch.payload, NOW).unwrap();
        }
        for key in &keys {
            let mut access = other.access(NOW, &[key]);
            access.begin_command();
            assert!(access.delete(Database(0), key));
        }
        assert_eq!(two.remembered_resets(), keys.len() as u64);
        let all: VersionVector = [(NodeNumber::new(2).unwrap(), two.clock())].into_iter().collect();
        let (mut from, mut left) = (0, Vec::new());
        loop {
            from = two.collect_resets(from, &|_| Some(&all), &|| true);
            left.push(two.remembered_resets());
            if from == 0 {
                break;
            }
        }
        // One slot in each turn, and a last look at those behind it.
        assert_eq!(left, [4, 3, 2, 1, 0, 0][..left.len()]);
        assert_eq!(left.last(), Some(&0));
    }
}

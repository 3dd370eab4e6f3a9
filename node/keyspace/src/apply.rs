//! Applying batches of other nodes, group by group, and collecting what need not be remembered any more.

use crate::beside::{Built, Plan};
use crate::hash::{SLOTS, slot_of};
use crate::keyspace::Keyspace;
use crate::large::LargePut;
use crate::lock::LockGuard;
use crate::shared::EndedNumber;
use crate::slot::Slot;
use crdt::{Change, Changes, DecodeError, NodeNumber, Operation, Operations, Stamp, UnixMillis, VersionVector};

impl Keyspace {
    /// Applies a batch whose predecessor and dependencies have been applied. `previous` and `last` are the batch's
    /// bounds. The whole payload is checked before anything is applied. Changes that the node's vector covers already
    /// are skipped. Returns how many changes there were.
    pub fn apply(
        &self,
        origin: NodeNumber,
        previous: Stamp,
        last: Stamp,
        payload: &[u8],
        now: UnixMillis,
    ) -> Result<usize, DecodeError> {
        self.apply_with_pauses(origin, (previous, last), payload, now, &mut |_| ())
    }

    /// The same, and calls `pause` between groups, when no slot is locked, with whether somebody waits for one.
    pub fn apply_with_pauses(
        &self,
        origin: NodeNumber,
        (previous, last): (Stamp, Stamp),
        payload: &[u8],
        now: UnixMillis,
        pause: &mut dyn FnMut(bool),
    ) -> Result<usize, DecodeError> {
        let changes: Vec<Change<'_>> = Changes::new(payload, origin, previous).collect::<Result<_, _>>()?;
        for change in &changes {
            if change.stamp > last {
                return Err(DecodeError::Invalid("a change beyond the end of its batch"));
            }
            Operations::of(change).try_for_each(|operation| operation.map(drop))?;
        }
        self.shared.set_now(now);
        self.shared.observe(last);
        let seen = self.applied().of(origin);
        let news = changes.partition_point(|change| change.stamp <= seen);
        // A stamp of our own marks what changes here, so that digests can say since when a slot has been as it is.
        let mark = self.shared.next_stamp(now);
        for group in groups(&changes[news..]) {
            pause(self.is_waited_for());
            if group.iter().all(|change| self.is_for_here(change, is_database_clear(change))) {
                self.apply_group(group, mark)?;
                continue;
            }
            let here = |change: &&Change<'_>| self.is_for_here(change, is_database_clear(change));
            let group: Vec<Change<'_>> = group.iter().filter(here).cloned().collect();
            self.apply_group(&group, mark)?;
        }
        self.shared.raise(&[(origin, last)].into_iter().collect());
        Ok(changes.len())
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
    /// of whose own changes up to its entry there are here.
    pub fn collect_resets<'v>(&self, known: &dyn Fn(NodeNumber) -> Option<&'v VersionVector>) {
        if self.shared.resets() == 0 {
            return;
        }
        for slot in &self.slots {
            let mut slot = slot.lock();
            let before = slot.memory.resets().len();
            if before > 0 {
                let resets = slot.memory.resets_mut();
                resets.retain(|name, reset| !known(name.node).is_some_and(|vector| vector.covers(reset.by)));
                self.shared.count_resets(resets.len() as i64 - before as i64);
                slot.memory.tidy();
            }
        }
    }

    fn apply_group(&self, group: &[Change<'_>], mark: Stamp) -> Result<(), DecodeError> {
        if group.iter().any(is_database_clear) {
            let lock = || -> Vec<LockGuard<'_, Slot>> { self.lock_all_slots() };
            let mut slots = self.lock_thawed(std::iter::empty(), lock);
            return self
                .apply_locked(group, Vec::new(), mark, &mut |number, work| work(&mut slots[usize::from(number)]));
        }
        let built = self.build_beside(group);
        if let [change] = group {
            return self.apply_locked(group, built, mark, &mut |_, work| {
                let number = slot_of(change.key);
                work(&mut self.lock_thawed(std::iter::once(change.key), || self.slot(number)))
            });
        }
        let mut numbers: Vec<u16> = group.iter().map(|change| slot_of(change.key)).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let keys = group.iter().map(|change| change.key);
        let lock =
            || -> Vec<LockGuard<'_, Slot>> { self.lock_slots(&numbers).into_iter().map(|(_, slot)| slot).collect() };
        let mut slots = self.lock_thawed(keys, lock);
        self.apply_locked(group, built, mark, &mut |number, work| match numbers.binary_search(&number) {
            Ok(at) => work(&mut slots[at]),
            Err(_) => Ok(()),
        })
    }

    /// What the large changes of a group put, by the place of the change.
    fn build_beside<'c>(&self, group: &'c [Change<'c>]) -> Vec<(usize, Built<'c>)> {
        let build = |(place, change): (usize, &'c Change<'c>)| {
            let plan = Plan::of(change)?;
            let is_alone = plan.is_alone(&self.slot(slot_of(change.key)), &self.shared);
            is_alone.then(|| (place, plan.build(&self.shared, &mut || {})))
        };
        group.iter().enumerate().filter_map(build).collect()
    }

    #[expect(clippy::type_complexity, reason = "a visitor of locked slots")]
    fn apply_locked(
        &self,
        group: &[Change<'_>],
        built: Vec<(usize, Built<'_>)>,
        mark: Stamp,
        with_slot: &mut dyn FnMut(u16, &mut dyn FnMut(&mut Slot) -> Result<(), DecodeError>) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let mut built = built.into_iter().peekable();
        for (place, change) in group.iter().enumerate() {
            let mut ready = built.next_if(|(of, _)| *of == place).map(|(_, built)| built);
            let mut work = |slot: &mut Slot| {
                slot.memory.changed = mark;
                let now = self.shared.now();
                let before = self.before_arrival(slot, change, now);
                let outline = ready.as_ref().map(Built::outline);
                match ready.take() {
                    Some(built) => built.put_in_place(slot, &self.shared)?,
                    None => self.apply_to(slot, change)?,
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
            };
            if is_database_clear(change) {
                (0..SLOTS).try_for_each(|number| with_slot(number, &mut work))?;
            } else {
                with_slot(slot_of(change.key), &mut work)?;
            }
        }
        Ok(())
    }

    fn apply_to(&self, slot: &mut Slot, change: &Change<'_>) -> Result<(), DecodeError> {
        if let Some(value) = change.plain_set()
            && slot.apply_plain_set(&self.shared, change.stamp, change.database, change.key, value)
        {
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

fn is_database_clear(change: &Change<'_>) -> bool {
    change.key.is_empty() && Operations::of(change).any(|op| matches!(op, Ok(Operation::ClearDatabase { .. })))
}

/// The groups of a batch: runs of changes that are tied to the next one.
fn groups<'c, 'a>(changes: &'c [Change<'a>]) -> impl Iterator<Item = &'c [Change<'a>]> {
    changes.chunk_by(|before, _| before.tied)
}

#[cfg(test)]
mod tests {
    use crate::{Database, Drain, Keyspace, Lifetime, NewLifetime};
    use crdt::NodeNumber;

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
}

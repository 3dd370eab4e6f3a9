//! What waits for a move of a key, or for a large batch to be [prepared](super::preparing). Either takes seconds, and this
//! thread has all links, the own batches and the disk to serve: so what comes upon a key that is being moved is put aside, and
//! such a batch, and with them what must come behind. Own batches go on, and batches of others that build on nothing that was
//! put aside.

use super::Peers;
use super::events::WaitsFor;
use super::keeping::{KEPT_TURN_MAX, Queued, Waiting};
use protocol::Batch;
use std::collections::VecDeque;
use std::time::Duration;

/// Until it is looked again whether the move is over.
pub(super) const MOVE_LOOK: Duration = Duration::from_millis(2);

/// What was put aside, in the order of the journal.
#[derive(Debug, Default)]
pub(super) struct Held {
    queue: VecDeque<Queued>,
    /// The move for which it was.
    moving: Option<u64>,
    /// It is being taken up again, and is not in the queue meanwhile: nothing else is done before it.
    is_taken_up: bool,
    /// So many at the front were taken up and had to be put aside again; the others have their turn next.
    taken_up: Option<usize>,
}

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether some of it is to be taken up at once: the last turn was over before all of it was.
    pub(super) fn is_behind(&self) -> bool {
        self.taken_up.is_some()
    }

    /// Whether what comes now has to wait until the others were done, or were put aside again.
    pub(super) fn is_taken_up(&self) -> bool {
        self.is_taken_up
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Queued> {
        self.queue.iter()
    }
}

impl Peers {
    /// Does what the journal has everything for by now, or puts it aside.
    pub(super) fn carry_out(&mut self, queued: Queued) {
        let is_first = self.keeping.held.is_empty();
        match &queued.then {
            // What is put aside is in no own batch's past.
            Waiting::Publish(_) => self.do_now(queued),
            Waiting::Apply(batch) => {
                let batch = batch.clone();
                if !(is_first || self.builds_on_what_is_applied(&batch)) {
                    self.put_aside(queued);
                } else if let Err(waits) = self.apply(&batch) {
                    if waits == WaitsFor::Move {
                        self.wait_for_the_move();
                    }
                    self.put_aside(queued);
                }
            }
            Waiting::MergeSlots { .. }
            | Waiting::MergeListing { .. }
            | Waiting::ReadSlots { .. }
            | Waiting::ReadListing { .. } => {
                let node = self.node.clone();
                let still = node.keyspace.still();
                if is_first && !still.has_frozen() {
                    self.do_now(queued);
                } else {
                    drop(still);
                    self.wait_for_the_move();
                    self.put_aside(queued);
                }
            }
            Waiting::Settled
            | Waiting::Moment(_)
            | Waiting::Drained { .. }
            | Waiting::Walked(_)
            | Waiting::SessionBegun { .. }
            | Waiting::Backup(_)
            | Waiting::SlotsRead { .. }
            | Waiting::ListingRead { .. }
            | Waiting::SessionFinished { .. } => {
                if is_first {
                    self.do_now(queued);
                } else {
                    self.put_aside(queued);
                }
            }
        }
    }

    pub(super) fn put_aside(&mut self, queued: Queued) {
        if queued.then.needs_stillness() {
            self.node.keyspace.want_stillness(true);
        }
        self.keeping.held.queue.push_back(queued);
    }

    /// Forgets what was put aside for a hub that is gone.
    pub(super) fn forget_held(&mut self) {
        let held = &mut self.keeping.held;
        held.queue.retain(|queued| !queued.then.is_for_hub());
        // What is left is looked at anew, and needs no stillness.
        (held.taken_up, held.moving) = (None, None);
        self.node.keyspace.want_stillness(false);
    }

    /// What is put aside now waits for the move that is under way, if there is one.
    fn wait_for_the_move(&mut self) {
        let moving = self.node.keyspace.moving();
        let held = &mut self.keeping.held;
        held.moving = held.moving.or(moving);
    }

    /// Takes up again what was put aside, if the move is over that some of it waited for, or a batch of it is prepared; as
    /// much of it as one turn may, since links, their heartbeats and own batches are due meanwhile.
    pub(super) fn take_up_held(&mut self) {
        let began_ns = self.node.monotonic_ns();
        self.take_up_held_while(|peers| peers.node.since(began_ns) <= KEPT_TURN_MAX);
    }

    fn take_up_held_while(&mut self, may_go_on: impl Fn(&Self) -> bool) {
        if self.keeping.held.is_empty() {
            self.keeping.held.taken_up = None;
            return;
        }
        let first = match self.keeping.held.taken_up {
            Some(first) => first,
            None => {
                let is_move_over = self.keeping.held.moving.map(|of| self.node.keyspace.moving() != Some(of));
                let is_prepared = self.keeping.preparations.is_ready();
                if is_move_over.or(is_prepared).is_some() && is_move_over != Some(true) && is_prepared != Some(true) {
                    return;
                }
                self.node.keyspace.want_stillness(false);
                self.keeping.held.moving = None;
                0
            }
        };
        // SUBTLE: what is done here may keep something, and what was written meanwhile would be done then: before what came
        // before it and is still to be taken up.
        let mut rest = self.keeping.held.queue.split_off(first);
        self.keeping.held.is_taken_up = true;
        while let Some(queued) = rest.pop_front() {
            self.carry_out(queued);
            if !may_go_on(self) {
                break;
            }
        }
        let held = &mut self.keeping.held;
        held.is_taken_up = false;
        held.taken_up = (!rest.is_empty()).then_some(held.queue.len());
        held.queue.append(&mut rest);
        self.carry_out_kept();
    }

    /// Whether everything is applied that a batch builds on.
    fn builds_on_what_is_applied(&self, batch: &Batch) -> bool {
        self.missing_dependency(batch).is_none() && batch.previous.last <= self.node.keyspace.applied().of(batch.origin)
    }
}

#[cfg(test)]
mod tests;

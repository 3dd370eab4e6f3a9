//! Runs: changes of one key, one behind the other, each of which puts an element at an end of a list, takes one from there or
//! adds an entry to a stream, as those of queues and logs are. They are applied under one lock and with one look for the
//! key, and each says what it does in a few steps; what is not that simple goes the general way.

use crate::arrival::{Arrival, Form};
use crate::body::KeyBody;
use crate::hash::{digest_of_dot, digest_of_element, digest_of_key};
use crate::holds::Holder;
use crate::keyspace::Keyspace;
use crate::shared::Shared;
use crate::slot::Slot;
use crate::{sequence, stream};
use crdt::{DecodeError, ElementWrite, Kind, Lifetime, Stamp, StreamEntry};

/// The changes at the beginning of these that are a run.
pub(crate) fn run_of<'c, 'a>(arrivals: &'c [Arrival<'a>]) -> &'c [Arrival<'a>] {
    let is_in = |arrival: &Arrival<'_>| {
        let (first, change) = (&arrivals[0], &arrival.change);
        matches!(arrival.form, Form::Element(_))
            && (arrival.place.hash, change.database) == (first.place.hash, first.change.database)
            && change.key == first.change.key
    };
    &arrivals[..arrivals.iter().position(|arrival| !is_in(arrival)).unwrap_or(arrivals.len())]
}

impl Keyspace {
    /// Applies a group that is a run.
    pub(crate) fn apply_run(&self, run: &[Arrival<'_>], mark: Stamp) -> Result<(), DecodeError> {
        let Some(first) = run.first() else { return Ok(()) };
        let mut slot = self.slot(first.place.slot);
        let _holding = self.shared.holds.begin(Holder::Apply);
        slot.apply_run(&self.shared, run, mark)
    }
}

impl Slot {
    /// Applies the changes of a run.
    pub(crate) fn apply_run(&mut self, shared: &Shared, run: &[Arrival<'_>], mark: Stamp) -> Result<(), DecodeError> {
        self.memory.changed = mark;
        let mut rest = run;
        loop {
            let simple = self.write_elements(shared, rest);
            let Some((next, behind)) = rest[simple..].split_first() else { return Ok(()) };
            self.apply(shared, &next.change)?;
            rest = behind;
        }
    }

    /// Applies as many of these changes of one key as are simple, from the first one on, and says how many that are.
    fn write_elements(&mut self, shared: &Shared, arrivals: &[Arrival<'_>]) -> usize {
        let Some(Arrival { change, place, .. }) = arrivals.first() else { return 0 };
        let Some((entry, memory)) = self.find_in_place(place.hash, change.database, change.key) else { return 0 };
        let Some(body) = entry.wide_mut() else { return 0 };
        if body.kinds() != 1 || body.lifetime() != Lifetime::Never {
            return 0;
        }
        let key_digest = digest_of_key(change.database, change.key);
        let (mut digest, mut count, mut latest) = (0, 0, Stamp::ZERO);
        for Arrival { change, form, .. } in arrivals {
            let Form::Element(write) = form else { break };
            let Some(turned) = body.write_element(key_digest, change.stamp, write) else { break };
            (digest, count, latest) = (digest ^ turned, count + 1, change.stamp);
            body.access = shared.access_after(body.access);
        }
        if count > 0 {
            memory.digest ^= digest;
            body.note_change(latest, digest);
            body.note_size(key_digest);
            memory.touched(change.database, change.key);
        }
        count
    }
}

impl KeyBody {
    /// Writes an element of the list or stream that is all that the key holds, and that it goes on holding. Returns what that
    /// changes in the slot's digest; nothing, and nothing done, if the case is not that simple.
    #[inline]
    fn write_element(&mut self, key_digest: u64, stamp: Stamp, write: &ElementWrite<'_>) -> Option<u64> {
        match *write {
            ElementWrite::AtEdge { step, value: Some(value) } => {
                let is_put = self.list.as_deref_mut()?.put_outermost(&sequence::Item::at_edge(step, value));
                let element = || digest_of_element(key_digest, Kind::List as u8, &step.edge_name());
                is_put.then(|| digest_of_dot(element(), stamp, value))
            }
            ElementWrite::AtEdge { step, value: None } => {
                let mut digest = None;
                self.list.as_deref_mut()?.take_outermost(step, |item| {
                    let is_own_older = item.dot.author() == stamp.author() && item.dot < stamp;
                    if let Some(text) = item.text().filter(|_| is_own_older) {
                        let element = digest_of_element(key_digest, Kind::List as u8, &step.edge_name());
                        digest = Some(digest_of_dot(element, item.dot, &text));
                    }
                    digest.is_some()
                });
                digest
            }
            ElementWrite::Entry { id, value } => {
                let stream = self.stream.as_deref_mut().filter(|stream| stream.is_visible())?;
                let (Err(at), Some(entry)) = (stream.find(id), StreamEntry::of_checked(value)) else { return None };
                stream.insert(at, &stream::Item::new(id, stamp, entry));
                let element = digest_of_element(key_digest, Kind::Stream as u8, &id.name());
                Some(digest_of_dot(element, stamp, value))
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! Removing what is over: expired keys, and assertions about lives whose content is gone.
//!
//! The author of the assertion that counts removes a key when its life is over, as an ordinary observed removal; the
//! others hide it at once, and one of them steps in after a grace period. A slot knows its earliest deadline and is
//! visited when that has come, so there is no index to keep and no pause: a visit walks the few dozen keys of one slot.

use crate::access::{Access, Database};
use crate::body::{KeyBody, KeyEntry, key_of, kind_of, lifetime_of};
use crate::entry::View;
use crate::hash::SLOTS;
use crate::keyspace::{Keyspace, Removal, Writer};
use crdt::{Lifetime, NodeNumber, UnixMillis};
use std::sync::atomic::Ordering;

/// Who removes what is over.
pub struct SweepPolicy<'a> {
    /// Whether this node (in this life or an earlier one) made stamps with this number.
    pub is_mine: &'a dyn Fn(NodeNumber) -> bool,
    /// Whether this node is the live member that steps in for a key whose owner does not act.
    pub steps_in: &'a dyn Fn(&[u8]) -> bool,
    /// How long after the end of a life another member steps in, in milliseconds: longer than clocks may differ.
    pub grace_ms: u64,
    /// How many slots one call visits at most, so that it never holds up the thread it runs on.
    pub slots_max: usize,
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Keys removed because their life was over.
    pub expired: u64,
    /// Keys of which only assertions were left.
    pub ghosts: u64,
    /// Slots visited.
    pub visited: usize,
    /// When there is more to do, unless something is written meanwhile; `u64::MAX` if nothing is known to end.
    pub next: UnixMillis,
}

/// Slots are visited no more often than this, in milliseconds: a slot whose keys end one after the other is walked
/// once for many of them.
const VISIT_INTERVAL_MS: u64 = 500;

impl Keyspace {
    /// Removes what is over, by `writer`. Call it a few times a second.
    pub fn sweep(&self, writer: &mut Writer, now: UnixMillis, policy: &SweepPolicy<'_>) -> Swept {
        let mut swept = Swept { next: UnixMillis::MAX, ..Swept::default() };
        // Each sweep begins where the last one had to stop, so that no slot waits behind busier ones.
        let first = self.sweep_from.load(Ordering::Relaxed);
        for number in (first..SLOTS).chain(0..first) {
            let earliest = self.shared.earliest(number);
            if earliest > now {
                swept.next = swept.next.min(earliest);
                continue;
            }
            if swept.visited == policy.slots_max {
                swept.next = now;
                self.sweep_from.store(number, Ordering::Relaxed);
                break;
            }
            swept.visited += 1;
            let due = self.visit(number, now, policy);
            swept.next = swept.next.min(self.shared.earliest(number));
            for (database, key, ghost) in due {
                let mut access = writer.access(now, &[&key]);
                access.begin_command();
                let removed = access.remove_dead(Database(database), &key);
                let stamp = access.stamp.filter(|_| removed);
                drop(access);
                swept.expired += u64::from(removed && !ghost);
                swept.ghosts += u64::from(removed && ghost);
                if let (Some(stamp), Some(observe)) = (stamp, self.on_removal.get()) {
                    observe(&Removal { database, key: &key, stamp, now });
                }
            }
        }
        swept
    }

    /// Lists what this node has to remove in a slot, and notes when the slot must be looked at again.
    fn visit(&self, number: u16, now: UnixMillis, policy: &SweepPolicy<'_>) -> Vec<(u8, Box<[u8]>, bool)> {
        let slot = self.slot(number);
        let mut due = Vec::new();
        let mut next = u64::MAX;
        for database in slot.databases() {
            for entry in slot.keys(database) {
                match verdict(entry, now, policy) {
                    Verdict::Stays => {}
                    Verdict::Later(moment) => next = next.min(moment),
                    Verdict::Remove { ghost } => due.push((database, key_of(entry).into(), ghost)),
                }
            }
        }
        note_next(number, self, next.max(now + VISIT_INTERVAL_MS));
        drop(slot);
        due
    }
}

fn note_next(number: u16, keyspace: &Keyspace, next: u64) {
    let next = if next >= u64::MAX - VISIT_INTERVAL_MS { u64::MAX } else { next };
    keyspace.shared.set_earliest(number, next);
}

enum Verdict {
    Stays,
    Later(UnixMillis),
    Remove { ghost: bool },
}

fn verdict(entry: &KeyEntry, now: UnixMillis, policy: &SweepPolicy<'_>) -> Verdict {
    let (winner, ghost) = match entry.view() {
        View::Packed(packed) => (packed.life.assertion(packed.stamp), false),
        View::Counter(counter) => (counter.assertion(), false),
        View::Wide(body) => (KeyBody::winning_life(body), kind_of(entry).is_none()),
    };
    let Some((stamp, lifetime)) = winner else { return Verdict::Stays };
    let over = match (lifetime, ghost) {
        (Lifetime::Until(deadline), _) => deadline,
        (Lifetime::Never, false) => return Verdict::Stays,
        // A ghost that never ends was over when it was made.
        (Lifetime::Never, true) => stamp.unix_ms(),
    };
    let mine = (policy.is_mine)(stamp.author());
    if mine && (over <= now || ghost) {
        return Verdict::Remove { ghost };
    }
    if mine {
        return Verdict::Later(over);
    }
    let steps_in_at = over.saturating_add(policy.grace_ms);
    if steps_in_at <= now && (policy.steps_in)(key_of(entry)) {
        return Verdict::Remove { ghost };
    }
    Verdict::Later(steps_in_at.max(now + policy.grace_ms.min(over.saturating_sub(now))))
}

impl Access<'_> {
    /// Removes a key whose life is over, or of which only assertions are left. False if it is (again) alive.
    pub(crate) fn remove_dead(&mut self, database: Database, key: &[u8]) -> bool {
        let now = self.now;
        let shared = self.shared();
        let dead = self
            .locked(key)
            .find(shared, database.0, key)
            .is_some_and(|entry| kind_of(entry).is_none() || lifetime_of(entry).is_over(now));
        if dead {
            self.remove_observed(database, key);
        }
        dead
    }
}

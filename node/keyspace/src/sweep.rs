//! Removing what is over: expired keys, and assertions about lives whose content is gone.
//!
//! The author of the assertion that counts removes a key when its life is over, as an ordinary observed removal; the
//! others hide it at once, and one of them steps in after a grace period. A slot knows its earliest deadline and is
//! visited when that has come, so there is no index to keep. A visit may take many turns: a turn ends when it has removed
//! enough or its time is used up, and the next one goes on in the same slot. So a million keys that end at one moment, or
//! lie in one slot, hold up neither the thread that sweeps nor anybody who waits for the slot. Fields of hashes go in the same
//! way, some dozens in one change: their hash knows the order in which they end.

use crate::access::{Access, Database};
use crate::body::{KeyEntry, has_content, key_of, lifetime_of};
use crate::collection::ElementView;
use crate::entry::View;
use crate::events::EventClass;
use crate::hash::{SLOTS, slot_of};
use crate::keyspace::{Keyspace, Removal, Writer};
use crate::slot_walk::SlotWalk;
use crdt::{Lifetime, NodeNumber, Stamp, UnixMillis};

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
    /// How many keys one call removes, and perhaps some dozens more.
    pub removals_max: u64,
    /// Whether the time for this call is used up.
    pub is_late: &'a dyn Fn() -> bool,
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// Keys removed because their life was over.
    pub expired: u64,
    /// Keys of which only assertions were left.
    pub ghosts: u64,
    /// Fields of hashes removed because their life was over, or because only assertions were left of them.
    pub fields: u64,
    /// Slots whose visit was begun.
    pub visited: usize,
    /// When there is more to do, unless something is written meanwhile; `u64::MAX` if nothing is known to end.
    pub next: UnixMillis,
    /// Whether it ended because it had done enough: what is left should not wait long.
    pub is_cut_short: bool,
}

/// Where sweeps are.
#[derive(Debug, Default)]
pub(crate) struct SweepPlace {
    /// The slot that the next one begins with, so that no slot waits behind busier ones.
    from: u16,
    /// The visit of that slot, if it is not at its end.
    visit: Option<Visit>,
}

/// A visit of a slot, which may take several looks.
#[derive(Debug)]
struct Visit {
    number: u16,
    walk: SlotWalk,
    /// When something that was seen and stayed has to be looked at again.
    next: UnixMillis,
    /// The hash in which the next look goes on, if it has more fields that are over than one look takes.
    fields: Option<FieldsPlace>,
}

/// Where a visit is among the fields of one hash that are over.
#[derive(Debug)]
struct FieldsPlace {
    database: u8,
    key: Box<[u8]>,
    /// How many of those that are over, the earliest first, were looked at and stay.
    left: usize,
    /// How many fields with an end there were then. If that has changed, some may have been passed over: this visit goes
    /// on behind them, so that a hash that changes all the time cannot hold it up, and another follows soon.
    ends: usize,
}

/// What is to be removed.
enum Due {
    /// A key that is over, or a ghost.
    Key { database: u8, key: Box<[u8]>, ghost: bool },
    /// Fields of a hash.
    Fields { database: u8, key: Box<[u8]>, names: Vec<Box<[u8]>> },
}

/// Slots are visited no more often than this, in milliseconds: a slot whose keys end one after the other is walked
/// once for many of them.
const VISIT_INTERVAL_MS: u64 = 500;

/// Keys that one look lists. Removing them takes some ten microseconds; then the time is looked at.
const REMOVALS_A_LOOK_MAX: usize = 32;

/// Fields of one hash that one look looks at. They go in one change.
const FIELDS_A_LOOK_MAX: usize = 64;

impl Keyspace {
    /// Removes what is over, by `writer`. Call it a few times a second, and soon again if it was cut short.
    pub fn sweep(&self, writer: &mut Writer, now: UnixMillis, policy: &SweepPolicy<'_>) -> Swept {
        let mut swept = Swept { next: UnixMillis::MAX, ..Swept::default() };
        let mut place = self.sweep_place.lock();
        let mut looked = false;
        let first = place.from;
        for number in (first..SLOTS).chain(0..first) {
            if place.visit.is_none() {
                let earliest = self.shared.earliest(number);
                if earliest > now {
                    swept.next = swept.next.min(earliest);
                    continue;
                }
                if swept.visited < policy.slots_max {
                    swept.visited += 1;
                    place.visit = Some(self.begin_visit(number));
                }
            }
            // Where the slots allowed are used up, there is no visit.
            loop {
                let is_spent = looked
                    && (swept.expired + swept.ghosts + swept.fields >= policy.removals_max || (policy.is_late)());
                let Some(visit) = place.visit.as_mut().filter(|_| !is_spent) else {
                    place.from = number;
                    return Swept { next: now, is_cut_short: true, ..swept };
                };
                let (due, is_over) = self.look(visit, now, policy);
                looked = true;
                self.remove_due(writer, now, due, &mut swept);
                if is_over {
                    place.visit = None;
                    break;
                }
            }
            swept.next = swept.next.min(self.shared.earliest(number));
        }
        swept
    }

    fn remove_due(&self, writer: &mut Writer, now: UnixMillis, due: Vec<Due>, swept: &mut Swept) {
        for due in due {
            let (Due::Key { database, key, .. } | Due::Fields { database, key, .. }) = &due;
            let (database, key) = (*database, key.clone());
            let mut access = writer.access(now, &[&key]);
            access.begin_command();
            if self.meets_frozen(&[&key], true) {
                // It is being moved: somebody looks again soon.
                self.shared.set_earliest(slot_of(&key), now);
                continue;
            }
            let fields = match due {
                Due::Key { ghost, .. } => {
                    let removed = access.remove_dead(Database(database), &key);
                    if removed && !ghost {
                        access.note(EventClass::EXPIRED, "expired", Database(database), &key);
                    }
                    swept.expired += u64::from(removed && !ghost);
                    swept.ghosts += u64::from(removed && ghost);
                    Vec::new()
                }
                Due::Fields { mut names, .. } => {
                    access.remove_dead_fields(Database(database), &key, &mut names);
                    swept.fields += names.len() as u64;
                    if !names.is_empty() {
                        access.note_taken(EventClass::HASH, "hexpired", Database(database), &key);
                    }
                    names
                }
            };
            // Without a stamp nothing was removed.
            let stamp = access.stamp;
            drop(access);
            if let (Some(stamp), Some(observe)) = (stamp, self.on_removal.get()) {
                observe(&Removal { database, key: &key, fields: &fields, stamp, is_eviction: false, now });
            }
        }
    }

    /// Begins the visit of a slot: from now on its earliest deadline is that of what is written meanwhile.
    fn begin_visit(&self, number: u16) -> Visit {
        let _slot = self.slot(number);
        self.shared.set_earliest(number, UnixMillis::MAX);
        Visit { number, walk: SlotWalk::default(), next: UnixMillis::MAX, fields: None }
    }

    /// Lists some of what this node has to remove in a slot. At the end of the slot, which it tells, it notes when the
    /// slot must be visited again.
    fn look(&self, visit: &mut Visit, now: UnixMillis, policy: &SweepPolicy<'_>) -> (Vec<Due>, bool) {
        let slot = self.slot(visit.number);
        let mut due = Vec::new();
        let Visit { walk, next, fields, .. } = visit;
        if let Some(place) = fields.take()
            && let Some(entry) = slot.find(&self.shared, place.database, &place.key)
        {
            *fields = look_at_fields(entry, place, now, policy, next, &mut due);
            return (due, false);
        }
        let looked = walk.look(&slot, |database, entry| {
            match verdict(entry, now, policy) {
                Verdict::Stays => {}
                Verdict::Later(moment) => *next = (*next).min(moment),
                Verdict::Remove { ghost } => {
                    due.push(Due::Key { database, key: key_of(entry).into(), ghost });
                    return due.len() < REMOVALS_A_LOOK_MAX;
                }
            }
            let (count, place) = (due.len(), FieldsPlace { database, key: Box::default(), left: 0, ends: 0 });
            *fields = look_at_fields(entry, place, now, policy, next, &mut due);
            due.len() < REMOVALS_A_LOOK_MAX && due.len() == count && fields.is_none()
        });
        if !looked.is_over {
            return (due, false);
        }
        // What was written during the visit may end before all that was seen.
        let next = visit.next.min(self.shared.earliest(visit.number)).max(now + VISIT_INTERVAL_MS);
        let next = if next >= UnixMillis::MAX - VISIT_INTERVAL_MS { UnixMillis::MAX } else { next };
        self.shared.set_earliest(visit.number, next);
        (due, true)
    }
}

enum Verdict {
    Stays,
    Later(UnixMillis),
    Remove { ghost: bool },
}

/// Looks at some of the fields of a hash that are over, the earliest first. Returns where to go on, if there are more.
fn look_at_fields(
    entry: &KeyEntry,
    place: FieldsPlace,
    now: UnixMillis,
    policy: &SweepPolicy<'_>,
    next: &mut UnixMillis,
    due: &mut Vec<Due>,
) -> Option<FieldsPlace> {
    let View::Wide(body) = entry.view() else { return None };
    let map = body.hash.as_deref()?;
    let timed = map.timed()?;
    let (over, ends) = (map.over_at(now), timed.order().len());
    let mut left = place.left.min(over);
    if left > 0 && place.ends != ends {
        // The end of the visit makes it a moment later.
        *next = (*next).min(now);
    }
    let first = left;
    let mut names = Vec::new();
    for item in timed.order().range(first..over, false).take(FIELDS_A_LOOK_MAX) {
        let field = ElementView::of(timed.member(item.cell));
        match judge(field.winning_life(), &body.key, now, policy) {
            Verdict::Remove { .. } => names.push(field.name().into()),
            Verdict::Later(moment) => {
                *next = (*next).min(moment);
                left += 1;
            }
            Verdict::Stays => left += 1,
        }
    }
    let ends = ends - names.len();
    if !names.is_empty() {
        due.push(Due::Fields { database: place.database, key: body.key.clone(), names });
    }
    if over.saturating_sub(first) > FIELDS_A_LOOK_MAX {
        return Some(FieldsPlace { database: place.database, key: body.key.clone(), left, ends });
    }
    *next = (*next).min(map.next_end(now).unwrap_or(UnixMillis::MAX));
    None
}

fn verdict(entry: &KeyEntry, now: UnixMillis, policy: &SweepPolicy<'_>) -> Verdict {
    let (winner, ghost) = match entry.view() {
        View::Packed(packed) => (packed.life.assertion(packed.stamp), false),
        View::Counter(counter) => (counter.assertion(), false),
        View::Bundle(bundle) => (bundle.assertion(), false),
        View::Wide(body) => (body.winning_life().or_else(|| body.left_over()), !has_content(entry)),
    };
    judge(winner.map(|(stamp, lifetime)| (stamp, lifetime, ghost)), key_of(entry), now, policy)
}

/// What becomes of a key, or a field of it, by the assertion about its life that counts; with it whether only assertions
/// are left.
fn judge(winner: Option<(Stamp, Lifetime, bool)>, key: &[u8], now: UnixMillis, policy: &SweepPolicy<'_>) -> Verdict {
    let Some((stamp, lifetime, ghost)) = winner else { return Verdict::Stays };
    let over = match (lifetime, ghost) {
        // A ghost was over when it was made, whatever it says: where delivery is causal, no content comes after it.
        (_, true) => stamp.unix_ms(),
        (Lifetime::Until(deadline), false) => deadline,
        (Lifetime::Never, false) => return Verdict::Stays,
    };
    let mine = (policy.is_mine)(stamp.author());
    if mine && (over <= now || ghost) {
        return Verdict::Remove { ghost };
    }
    if mine {
        return Verdict::Later(over);
    }
    let steps_in_at = over.saturating_add(policy.grace_ms);
    if steps_in_at <= now && (policy.steps_in)(key) {
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
            .is_some_and(|entry| !has_content(entry) || lifetime_of(entry).is_over(now));
        if dead {
            self.remove_observed(database, key);
        }
        dead
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write::NewLifetime;
    use std::cell::Cell;
    use std::sync::Arc;

    const NOW: UnixMillis = 1_700_000_000_000;
    const DB: Database = Database(0);

    fn filled(keys: usize, name: impl Fn(usize) -> String) -> (Arc<Keyspace>, Writer) {
        let keyspace = Keyspace::new(1);
        keyspace.set_number(NodeNumber::new(1).unwrap());
        let mut writer = keyspace.writer();
        for number in 0..keys {
            let name = name(number);
            let mut access = writer.access(NOW, &[name.as_bytes()]);
            access.begin_command();
            access.put_string(DB, name.as_bytes(), b"v", NewLifetime::Set(Lifetime::Until(NOW + 1_000)));
        }
        (keyspace, writer)
    }

    fn policy(removals_max: u64, is_late: &dyn Fn() -> bool) -> SweepPolicy<'_> {
        let steps_in = &|_: &[u8]| false;
        SweepPolicy { is_mine: &|_| true, steps_in, grace_ms: 0, slots_max: usize::MAX, removals_max, is_late }
    }

    fn check_turns(keys: usize, name: impl Fn(usize) -> String) {
        let (keyspace, mut writer) = filled(keys, name);
        let (now, mut turns, mut removed) = (NOW + 2_000, 0, 0);
        loop {
            let swept = keyspace.sweep(&mut writer, now, &policy(200, &|| false));
            assert!(swept.expired <= 200 + REMOVALS_A_LOOK_MAX as u64);
            (turns, removed) = (turns + 1, removed + swept.expired);
            if !swept.is_cut_short {
                break;
            }
            assert_eq!(swept.next, now);
        }
        assert_eq!((removed, keyspace.len(0)), (keys as u64, 0));
        assert!(turns >= keys / 232, "{turns}");
        // Each removal has its slot looked at once more; then nothing is left to be looked at.
        keyspace.sweep(&mut writer, now + 600, &policy(200, &|| false));
        let swept = keyspace.sweep(&mut writer, now + 1_200, &policy(200, &|| false));
        assert_eq!((swept.visited, swept.next), (0, UnixMillis::MAX));
    }

    #[test]
    fn keys_that_end_together_are_removed_in_bounded_turns() {
        check_turns(5_000, |number| format!("key:{number}"));
    }

    #[test]
    fn keys_of_one_slot_are_removed_in_bounded_turns() {
        check_turns(5_000, |number| format!("{{tag}}:{number}"));
    }

    #[test]
    fn a_turn_ends_when_its_time_is_used_up_but_does_something() {
        let (keyspace, mut writer) = filled(1_000, |number| format!("{{tag}}:{number}"));
        let swept = keyspace.sweep(&mut writer, NOW + 2_000, &policy(u64::MAX, &|| true));
        assert!(swept.is_cut_short && swept.expired == REMOVALS_A_LOOK_MAX as u64, "{swept:?}");
    }

    #[test]
    fn who_watches_a_key_that_is_over_does_not_see_it_removed_and_sees_another() {
        let (keyspace, mut writer) = filled(2, |number| format!("k{number}"));
        let now = NOW + 2_000;
        let watches = [b"k0", b"k1"].map(|key| writer.access(now, &[key]).watch(DB, key));
        assert_eq!(keyspace.sweep(&mut writer, now, &policy(200, &|| false)).expired, 2);
        assert_eq!(watches.each_ref().map(|watch| watch.changed(now)), [false, false]);
        let mut access = writer.access(now, &[b"k0"]);
        access.begin_command();
        access.put_string(DB, b"k0", b"v", NewLifetime::Set(Lifetime::Never));
        // Also if nothing is left of that.
        access.begin_command();
        access.delete(DB, b"k0");
        assert_eq!(watches.each_ref().map(|watch| watch.changed(now)), [true, false]);
    }

    /// A hash whose fields end at the same moment, all but one.
    fn filled_hash(fields: usize) -> (Arc<Keyspace>, Writer) {
        let (keyspace, mut writer) = filled(0, |_| String::new());
        let mut access = writer.access(NOW, &[b"h"]);
        access.begin_command();
        access.put_field(DB, b"h", b"stays", b"v").unwrap();
        for number in 0..fields {
            let lifetime = NewLifetime::Set(Lifetime::Until(NOW + 1_000));
            access.begin_command();
            access.put_field_for(DB, b"h", number.to_string().as_bytes(), b"v", lifetime).unwrap();
        }
        drop(access);
        (keyspace, writer)
    }

    #[test]
    fn fields_that_end_together_are_removed_in_bounded_turns_and_hidden_before() {
        let (keyspace, mut writer) = filled_hash(5_000);
        let (now, mut turns, mut removed) = (NOW + 2_000, 0, 0);
        loop {
            let mut access = writer.access(now, &[b"h"]);
            access.begin_command();
            let fields = access.hash(DB, b"h").unwrap().unwrap();
            assert_eq!((fields.len(), fields.iter().count(), fields.contains(b"17")), (1, 1, false));
            assert_eq!(fields.random(turns).unwrap().0, b"stays");
            drop(access);
            let swept = keyspace.sweep(&mut writer, now, &policy(200, &|| false));
            assert!(swept.fields <= 200 + FIELDS_A_LOOK_MAX as u64, "{swept:?}");
            (turns, removed) = (turns + 1, removed + swept.fields);
            if !swept.is_cut_short {
                break;
            }
        }
        assert_eq!((removed, keyspace.len(0)), (5_000, 1));
        assert!(turns >= 5_000 / 264, "{turns}");
        // With its last end the hash has no order of ends any more, and nobody looks at it again.
        keyspace.sweep(&mut writer, now + 600, &policy(200, &|| false));
        let swept = keyspace.sweep(&mut writer, now + 1_200, &policy(200, &|| false));
        assert_eq!((swept.visited, swept.next), (0, UnixMillis::MAX));
    }

    #[test]
    fn fields_of_others_do_not_hide_those_behind_them() {
        let (keyspace, mut writer) = filled_hash(300);
        keyspace.set_number(NodeNumber::new(2).unwrap());
        let mut access = writer.access(NOW, &[b"h"]);
        for number in 0..300 {
            let lifetime = NewLifetime::Set(Lifetime::Until(NOW + 1_500));
            access.begin_command();
            access.put_field_for(DB, b"h", format!("own:{number}").as_bytes(), b"v", lifetime).unwrap();
        }
        drop(access);
        let is_mine = |number: NodeNumber| number == NodeNumber::new(2).unwrap();
        let policy = |steps_in| SweepPolicy {
            is_mine: &is_mine,
            steps_in,
            grace_ms: 10_000,
            slots_max: usize::MAX,
            removals_max: u64::MAX,
            is_late: &|| false,
        };
        let swept = keyspace.sweep(&mut writer, NOW + 2_000, &policy(&|_| true));
        assert_eq!((swept.fields, swept.is_cut_short), (300, false));
        // The owner of the others never comes: after the grace period they are looked at again.
        assert!(swept.next <= NOW + 11_000, "{swept:?}");
        let swept = keyspace.sweep(&mut writer, NOW + 11_001, &policy(&|_| true));
        assert_eq!(swept.fields, 300);
    }

    #[test]
    fn a_hash_that_changes_all_the_time_does_not_hold_up_the_sweep() {
        // Fields of another node, which stay, are more than one look takes.
        let (keyspace, mut writer) = filled_hash(300);
        keyspace.set_number(NodeNumber::new(2).unwrap());
        let put = |writer: &mut Writer, key: &[u8], field: &str, deadline: UnixMillis| {
            let mut access = writer.access(NOW, &[key]);
            access.begin_command();
            let lifetime = NewLifetime::Set(Lifetime::Until(deadline));
            access.put_field_for(DB, key, field.as_bytes(), b"v", lifetime).unwrap();
        };
        put(&mut writer, b"another", "f", NOW + 1_000);
        let is_mine = |number: NodeNumber| number == NodeNumber::new(2).unwrap();
        let policy = SweepPolicy { is_mine: &is_mine, grace_ms: 10_000, ..policy(u64::MAX, &|| true) };
        let mut removed = 0;
        let last = (0..40).find_map(|round| {
            put(&mut writer, b"h", &format!("new:{round}"), NOW + 100_000);
            let swept = keyspace.sweep(&mut writer, NOW + 2_000, &policy);
            removed += swept.fields;
            (!swept.is_cut_short).then_some(swept)
        });
        // Some fields may have been passed over: the next visit is not far.
        assert!(last.is_some_and(|swept| swept.next <= NOW + 2_000 + VISIT_INTERVAL_MS), "{last:?}");
        assert_eq!(removed, 1);
    }

    /// Two nodes with a key and two fields, of which one gives the key and one field an end in a year while the other
    /// removes both: at the other they are ghosts.
    fn ghosts_of_another() -> (Arc<Keyspace>, Writer) {
        const YEAR_MS: u64 = 365 * 24 * 3_600_000;
        let numbers = [1, 2].map(|number| NodeNumber::new(number).unwrap());
        let [one, two] = numbers.map(|number| {
            let keyspace = Keyspace::new(1);
            keyspace.set_number(number);
            keyspace
        });
        let (mut writers, mut drain) = ([one.writer(), two.writer()], crate::Drain::default());
        let mut hear = || {
            for batch in drain.take(&one) {
                two.apply(numbers[0], batch.previous, batch.last, &batch.payload, NOW).unwrap();
            }
        };
        let mut access = writers[0].access(NOW, &[b"h", b"k"]);
        access.begin_command();
        access.put_field(DB, b"h", b"f", b"v").unwrap();
        access.put_field(DB, b"h", b"stays", b"v").unwrap();
        access.put_string(DB, b"k", b"v", NewLifetime::Set(Lifetime::Never));
        drop(access);
        hear();
        let mut access = writers[0].access(NOW, &[b"h", b"k"]);
        access.begin_command();
        access.set_field_lifetime(DB, b"h", b"f", Lifetime::Until(NOW + YEAR_MS)).unwrap();
        access.set_lifetime(DB, b"k", Lifetime::Until(NOW + YEAR_MS));
        drop(access);
        let mut access = writers[1].access(NOW, &[b"h", b"k"]);
        access.begin_command();
        access.remove_field(DB, b"h", b"f").unwrap();
        access.remove_observed(DB, b"k");
        drop(access);
        hear();
        let [_, writer] = writers;
        (two, writer)
    }

    #[test]
    fn a_ghost_whose_author_never_comes_is_removed_after_the_grace_period() {
        let (keyspace, mut writer) = ghosts_of_another();
        let is_mine = |number: NodeNumber| number == NodeNumber::new(2).unwrap();
        let late = || false;
        let steps_in = |_: &[u8]| true;
        let policy =
            SweepPolicy { is_mine: &is_mine, steps_in: &steps_in, grace_ms: 10_000, ..policy(u64::MAX, &late) };
        let swept = keyspace.sweep(&mut writer, NOW + 5_000, &policy);
        assert_eq!((swept.fields, swept.ghosts, swept.expired), (0, 0, 0));
        assert!(swept.next < NOW + 11_000, "{swept:?}");
        let swept = keyspace.sweep(&mut writer, NOW + 11_000, &policy);
        assert_eq!((swept.fields, swept.ghosts, swept.expired), (1, 1, 0));
        assert_eq!(keyspace.len(0), 1);
    }

    #[test]
    fn a_turn_among_fields_ends_when_its_time_is_used_up() {
        let (keyspace, mut writer) = filled_hash(1_000);
        let swept = keyspace.sweep(&mut writer, NOW + 2_000, &policy(u64::MAX, &|| true));
        assert!(swept.is_cut_short && swept.fields == FIELDS_A_LOOK_MAX as u64, "{swept:?}");
    }

    /// A key that is written to a slot whose visit is not at its end, into cells that were looked at already.
    #[test]
    fn a_deadline_set_during_a_visit_is_not_forgotten() {
        let (keyspace, mut writer) = filled(3_000, |number| format!("{{tag}}:{number}"));
        let written = Cell::new(0);
        for round in 0..200 {
            let swept = keyspace.sweep(&mut writer, NOW + 2_000, &policy(1, &|| true));
            if !swept.is_cut_short {
                break;
            }
            let name = format!("{{tag}}:later:{round}");
            let mut access = writer.access(NOW + 2_000, &[name.as_bytes()]);
            access.begin_command();
            access.put_string(DB, name.as_bytes(), b"v", NewLifetime::Set(Lifetime::Until(NOW + 9_000)));
            written.set(written.get() + 1);
        }
        assert_eq!(keyspace.len(0), written.get());
        let swept = keyspace.sweep(&mut writer, NOW + 9_001, &policy(u64::MAX, &|| false));
        assert_eq!((swept.expired, keyspace.len(0)), (written.get(), 0));
    }
}

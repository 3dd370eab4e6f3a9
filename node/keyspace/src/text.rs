//! Strings that are written as a whole, and keys whose life is set, where they are: `SET` in all its forms, `GETEX`, `EXPIRE`
//! and their like on a string in one block. What the rules of [`crate::merge`] say in general is said here in a few steps, and
//! nothing is done if the case is not that simple.

use crate::body::key_of;
use crate::entry::{Entry, PackedLife};
use crate::hash::{digest_of_dot, digest_of_element, digest_of_key, digest_of_life, slot_of};
use crate::shared::Shared;
use crate::slot::Slot;
use crdt::{Change, Kind, Lifetime, Stamp, TextWrite};

/// What is written, and the dots of others that this has observed.
type Put<'w> = (&'w [u8], &'w [Stamp]);
/// How long a key lives, and the assertions that this has observed.
type Life<'w> = (Lifetime, &'w [Stamp]);

impl Slot {
    /// A plain `SET`. False if the case is not that simple, and then nothing was done.
    #[inline]
    pub fn apply_plain_set(&mut self, shared: &Shared, stamp: Stamp, database: u8, key: &[u8], value: &[u8]) -> bool {
        self.apply_plain_set_hashed(shared, shared.hasher.hash(key), stamp, database, key, value)
    }

    /// The same, to a key whose hash is known.
    #[inline]
    pub fn apply_plain_set_hashed(
        &mut self,
        shared: &Shared,
        hash: u64,
        stamp: Stamp,
        database: u8,
        key: &[u8],
        value: &[u8],
    ) -> bool {
        let is_done =
            self.write_text(shared, hash, stamp, (database, key), Some((value, &[])), Some((Lifetime::Never, &[])));
        if is_done {
            self.memory.touched(database, key);
        }
        is_done
    }

    /// Applies a change to a key that is a string in one block, or is not there. False if the case is not that simple, and
    /// then nothing was done.
    pub(crate) fn apply_text(&mut self, shared: &Shared, change: &Change<'_>, write: &TextWrite<'_>) -> bool {
        let Change { stamp, database, key, .. } = *change;
        let put = write.put.as_ref().map(|(value, drops)| (*value, &drops[..]));
        let life = write.life.as_ref().map(|(lifetime, drops)| (*lifetime, &drops[..]));
        let is_done = self.write_text(shared, shared.hasher.hash(key), stamp, (database, key), put, life);
        if is_done {
            if let Some((Lifetime::Until(deadline), _)) = life {
                shared.expires_at(slot_of(key), deadline);
            }
            self.touched(shared, database, key);
        }
        is_done
    }

    #[inline]
    fn write_text(
        &mut self,
        shared: &Shared,
        hash: u64,
        stamp: Stamp,
        (database, key): (u8, &[u8]),
        put: Option<Put<'_>>,
        life: Option<Life<'_>>,
    ) -> bool {
        if self.memory.context().is_some() {
            return false;
        }
        let key_digest = digest_of_key(database, key);
        let of_content = digest_of_element(key_digest, Kind::String as u8, &[]);
        let of_life = digest_of_element(key_digest, 0, &[]);
        let (table, memory) = self.split(database);
        let asserted = life.map(|(lifetime, _)| (stamp, lifetime));
        let Some(entry) = table.find_mut(hash, |entry| key_of(entry) == key) else {
            // Whoever writes a key anew says how long it lives: anything else comes to a key that is gone.
            let (Some((value, drops)), Some((lifetime, drops_of_life))) = (put, life) else { return false };
            if !all_seen(shared, drops, None) || !all_seen(shared, drops_of_life, None) {
                return false;
            }
            let packed_life = PackedLife::from_assertion(asserted, stamp);
            let entry = Entry::packed(stamp, packed_life, shared.access_at_first(), key, value);
            table.insert_new(hash, entry, |entry| shared.hasher.hash(key_of(entry)));
            shared.count_keys(database, 1);
            shared.count_life(database, None, Some(lifetime));
            memory.digest ^= digest_of_dot(of_content, stamp, value) ^ digest_of_life(of_life, stamp, lifetime);
            return true;
        };
        let Some(old) = entry.text() else { return false };
        let old_life = old.life.assertion(old.stamp);
        if let Some((_, drops)) = put
            && !(gives_way(old.stamp, stamp, drops) && all_seen(shared, drops, Some(old.stamp)))
        {
            return false;
        }
        if let Some((_, drops)) = life {
            let dot = old_life.map(|(dot, _)| dot);
            if !(dot.is_none_or(|dot| gives_way(dot, stamp, drops)) && all_seen(shared, drops, dot)) {
                return false;
            }
        }
        let access = shared.access_after(old.access);
        let new_life = asserted.or(old_life);
        let mut digest = 0;
        for (dot, lifetime) in old_life.into_iter().chain(new_life) {
            digest ^= digest_of_life(of_life, dot, lifetime);
        }
        let lasts = |life: Option<(Stamp, Lifetime)>| life.map(|(_, lifetime)| lifetime);
        shared.count_life(database, lasts(old_life), lasts(new_life));
        match put {
            Some((value, _)) => {
                digest ^= digest_of_dot(of_content, old.stamp, old.value) ^ digest_of_dot(of_content, stamp, value);
                entry.rewrite(stamp, PackedLife::from_assertion(new_life, stamp), access, value);
            }
            None => {
                let packed_life = PackedLife::from_assertion(new_life, old.stamp);
                let again = Entry::packed(old.stamp, packed_life, access, key, old.value);
                *entry = again;
            }
        }
        memory.digest ^= digest;
        true
    }
}

/// Whether a dot goes when a write with this stamp comes, which has observed `drops`.
fn gives_way(dot: Stamp, stamp: Stamp, drops: &[Stamp]) -> bool {
    drops.contains(&dot) || (dot.author() == stamp.author() && dot < stamp)
}

/// Whether none of these dots has yet to come: then nothing needs to be remembered of them. `here` is one that is there.
fn all_seen(shared: &Shared, drops: &[Stamp], here: Option<Stamp>) -> bool {
    drops.iter().all(|&dot| Some(dot) == here || shared.has_seen(dot))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::{has_content, lifetime_of};
    use crate::entry::View;
    use crate::keyspace::Keyspace;
    use crdt::change::encode_operation;
    use crdt::{NodeNumber, Operation, Operations, STAMP_EPOCH_MS, Stamps};

    const KEYS: [&[u8]; 3] = [b"a", b"b", b"c"];

    /// Every change as the general rules have it.
    fn apply_in_general(slot: &mut Slot, shared: &Shared, change: &Change<'_>) {
        for operation in Operations::of(change) {
            let operation = operation.unwrap();
            slot.change_key(shared, change.database, change.key, |body, site| {
                site.apply(body, change.stamp, &operation);
            });
        }
    }

    fn shown(slot: &Slot, shared: &Shared) -> Vec<String> {
        let mut keys: Vec<String> = slot
            .keys(0)
            .map(|entry| {
                let form = match entry.view() {
                    View::Packed(packed) => format!("{:?} {:?} {:?}", packed.stamp, packed.life, packed.value),
                    View::Wide(body) => format!("{:?} {:?}", body.string, body.lives),
                    View::Counter(_) | View::Bundle(_) => unreachable!("strings alone"),
                };
                format!("{:?} {form} {:?} {}", key_of(entry), lifetime_of(entry), has_content(entry))
            })
            .collect();
        keys.sort();
        keys.push(format!("{:x} {:?}", slot.memory.digest, slot.memory.context()));
        let ends = (shared.keys_with_end(0), shared.mean_life_ms(0, STAMP_EPOCH_MS));
        keys.push(format!("{} {ends:?} {}", shared.keys(0), shared.early()));
        keys
    }

    #[test]
    fn what_is_done_in_place_is_what_the_general_rules_do() {
        let (mut in_place, mut other) = (0, 0);
        for seed in 1..400_u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut random = |below: u64| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) % below
            };
            let (here, there) = (Keyspace::new(1), Keyspace::new(1));
            let (mut quick, mut general) = (Slot::new(), Slot::new());
            let mut dots: [Vec<Stamp>; KEYS.len()] = Default::default();
            for step in 0..60 {
                let author = NodeNumber::new(1 + random(3) as u16).unwrap();
                let stamp = Stamp::at(STAMP_EPOCH_MS + 10 * step + random(3), author);
                // Mostly the latest ones, as whoever has just read the key; now and then one that nobody has seen here.
                let which_key = random(KEYS.len() as u64) as usize;
                let mut observed = || -> Stamps {
                    let seen = if random(6) == 0 { random(4) as usize } else { 4 };
                    let mut some: Stamps = dots[which_key].iter().rev().take(seen).copied().collect();
                    if random(40) == 0 {
                        some.push(Stamp::at(STAMP_EPOCH_MS + 100_000 + step, NodeNumber::new(7).unwrap()));
                    }
                    some.retain(|dot| dot.author() != author);
                    some
                };
                let (of_content, of_life) = (observed(), observed());
                let value = vec![b'v'; random(40) as usize];
                let put = Operation::Put {
                    kind: Kind::String,
                    name: &[],
                    drops: of_content,
                    resets: Default::default(),
                    value: &value,
                };
                let lifetime = match random(3) {
                    0 => Lifetime::Never,
                    at => Lifetime::Until(STAMP_EPOCH_MS + at * 1_000_000),
                };
                let live = Operation::Live { drops: of_life, assertion: Some(lifetime) };
                let mut operations = Vec::new();
                let which = random(4);
                for (operation, is_in) in [(&put, which != 0), (&live, which != 1)] {
                    if is_in {
                        encode_operation(&mut operations, stamp, operation);
                    }
                }
                let key = KEYS[which_key];
                let change = Change { stamp, tied: false, database: 0, key, operations: &operations };
                let write = TextWrite::of(&change).unwrap();
                if quick.apply_text(&here.shared, &change, &write) {
                    in_place += 1;
                } else {
                    other += 1;
                    apply_in_general(&mut quick, &here.shared, &change);
                }
                apply_in_general(&mut general, &there.shared, &change);
                for keyspace in [&here, &there] {
                    keyspace.shared.raise(&[(author, stamp)].into_iter().collect());
                }
                dots[which_key].push(stamp);
                assert_eq!(shown(&quick, &here.shared), shown(&general, &there.shared), "seed {seed}, step {step}");
                let slot = slot_of(key);
                assert_eq!(here.shared.earliest(slot), there.shared.earliest(slot), "seed {seed}, step {step}");
            }
        }
        assert!(in_place > 1_000 && other > 1_000, "{in_place} in place, {other} not");
    }
}

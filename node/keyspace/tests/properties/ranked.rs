//! Large sorted sets: whatever brings, changes or takes away members (clients, batches, state, clears), their order is that
//! of their scores and names, in every region.

use crate::random::{Random, for_seeds};
use crdt::{NodeNumber, STAMP_EPOCH_MS};
use keyspace::{Database, Drain, Keyspace, OpenBatch, Score, Writer, slot_of};
use std::collections::BTreeMap;
use std::sync::Arc;

const NOW: u64 = STAMP_EPOCH_MS + (1 << 37);
const DB: Database = Database(0);
const KEY: &[u8] = b"z";
const MEMBERS: usize = 300;

struct Side {
    keyspace: Arc<Keyspace>,
    writer: Writer,
    drain: Drain,
    number: NodeNumber,
    /// Batches that the other side has not heard of.
    pending: Vec<OpenBatch>,
}

impl Side {
    fn new(number: u16) -> Self {
        let number = NodeNumber::new(number).unwrap();
        let keyspace = Keyspace::new(u64::from(number.value()));
        keyspace.set_number(number);
        let writer = keyspace.writer();
        Self { keyspace, writer, drain: Drain::default(), number, pending: Vec::new() }
    }

    fn write(&mut self, random: &mut Random) {
        let member = format!("m{}", random.below(MEMBERS));
        let member = member.as_bytes();
        let score = Score::new((random.below(40) as f64 - 10.0) / 4.0).unwrap();
        let mut access = self.writer.access(NOW, &[KEY]);
        access.begin_command();
        match random.below(100) {
            0..55 => drop(access.put_score(DB, KEY, member, score).unwrap()),
            55..75 => drop(access.add_to_score(DB, KEY, member, score).unwrap()),
            75..99 => drop(access.remove_scored(DB, KEY, member).unwrap()),
            // Rarely, so that there is something to order.
            _ if random.chance(4) => drop(access.delete(DB, KEY)),
            _ => {}
        }
    }

    fn close(&mut self) {
        let batches = self.drain.take(&self.keyspace);
        self.pending.extend(batches);
    }

    fn hear(&mut self, from: NodeNumber, batches: &[OpenBatch]) {
        for batch in batches {
            self.keyspace.apply(from, batch.previous, batch.last, &batch.payload, NOW).unwrap();
        }
    }

    /// The members with their scores, after a look at the order in every way there is.
    fn check(&mut self) -> Vec<(Vec<u8>, f64)> {
        let mut access = self.writer.access(NOW, &[KEY]);
        let Some(members) = access.sorted_set(DB, KEY).unwrap() else { return Vec::new() };
        let mut expected: Vec<(&[u8], f64)> = members.iter().collect();
        expected.sort_by(|(one, score), (other, high)| score.total_cmp(high).then_with(|| one.cmp(other)));
        let order = members.in_order();
        assert_eq!(order.range(0..usize::MAX, false).collect::<Vec<_>>(), expected);
        let reversed: Vec<_> = expected.iter().rev().copied().collect();
        assert_eq!(order.range(0..usize::MAX, true).collect::<Vec<_>>(), reversed);
        for (rank, &(member, score)) in expected.iter().enumerate().step_by(17) {
            assert_eq!(order.rank(member), Some(rank));
            assert_eq!(members.score(member), Some(score));
            let below = expected.iter().filter(|(_, other)| *other < score).count();
            assert_eq!(order.below_score(|other| other < score), below);
        }
        expected.into_iter().map(|(member, score)| (member.to_vec(), score)).collect()
    }
}

/// Everything that one side has, over to the other, as a state session would bring it.
fn transfer(from: &Side, to: &mut Side) {
    let slot = slot_of(KEY);
    let since = (*to.keyspace.applied()).clone();
    let upto = (*from.keyspace.applied()).clone();
    let (bytes, _) = from.keyspace.list_slots(&[slot], &since, usize::MAX);
    assert!(to.keyspace.merge_slots(&bytes, NOW).unwrap().is_empty());
    to.keyspace.raise_applied(&upto);
}

#[test]
fn the_order_follows_every_change_of_a_large_sorted_set() {
    for_seeds("the_order_follows", 12, |seed| {
        let mut random = Random::new(seed);
        let mut sides = [Side::new(1), Side::new(2)];
        for _ in 0..random.between(20, 80) {
            let at = random.below(2);
            (0..random.between(1, 60)).for_each(|_| sides[at].write(&mut random));
            let [one, two] = &mut sides;
            let (from, to) = if at == 0 { (one, two) } else { (two, one) };
            from.close();
            if random.chance(60) {
                let batches = std::mem::take(&mut from.pending);
                to.hear(from.number, &batches);
            }
            from.check();
            to.check();
        }
        // What was not heard of as batches comes over as state; what was written on both sides meanwhile stands.
        let [one, two] = &mut sides;
        for side in [&mut *one, &mut *two] {
            side.close();
        }
        transfer(one, two);
        let batches = std::mem::take(&mut two.pending);
        one.hear(two.number, &batches);
        assert_eq!(one.check(), two.check());
        let digest = |side: &Side| side.keyspace.digest_of(slot_of(KEY)).digest;
        assert_eq!(digest(one), digest(two));
        // An image of it, loaded by a node that starts.
        let (block, _) = one.keyspace.read_image(&[slot_of(KEY)], usize::MAX);
        let mut started = Side::new(3);
        if !block.is_empty() {
            started.keyspace.load_image(&block, NOW).unwrap();
        }
        assert_eq!(started.check(), one.check());
    });
}

#[test]
fn a_copy_of_a_large_sorted_set_has_its_own_order() {
    let mut side = Side::new(1);
    let mut model = BTreeMap::new();
    let mut random = Random::new(1);
    let mut access = side.writer.access(NOW, &[KEY, b"copy"]);
    for index in 0..200 {
        access.begin_command();
        let (member, score) = (format!("m{index}"), random.below(50) as f64);
        access.put_score(DB, KEY, member.as_bytes(), Score::new(score).unwrap()).unwrap();
        model.insert(member, score);
    }
    access.begin_command();
    assert!(access.copy(DB, KEY, DB, b"copy"));
    access.begin_command();
    assert!(access.delete(DB, KEY));
    let members = access.sorted_set(DB, b"copy").unwrap().unwrap();
    let mut expected: Vec<(&str, f64)> = model.iter().map(|(member, score)| (&**member, *score)).collect();
    expected.sort_by(|(one, score), (other, high)| score.total_cmp(high).then_with(|| one.cmp(other)));
    let found: Vec<(&str, f64)> = members
        .in_order()
        .range(0..usize::MAX, false)
        .map(|(member, score)| (std::str::from_utf8(member).unwrap(), score))
        .collect();
    assert_eq!(found, expected);
}

//! The laws of positions: a total order, room between any two neighbours, and a bound on how long they get.

use crate::random::{Random, for_seeds};
use crdt::{NodeNumber, POSITION_STEPS_MAX, Position, STAMP_EPOCH_MS, Side, Stamp};

/// Stamps as a cluster gives them out: later than all before, by any of some authors.
struct Clock(u64);

impl Clock {
    fn next(&mut self, random: &mut Random) -> Stamp {
        self.0 += random.between(0, 2) as u64;
        let author = NodeNumber::new(random.below(3) as u16).unwrap();
        let stamp = Stamp::at(STAMP_EPOCH_MS + self.0, author);
        self.0 += 1;
        stamp
    }
}

fn put(list: &mut Vec<Position>, at: usize, stamp: Stamp, index: u32) -> bool {
    let before = at.checked_sub(1).map(|before| &list[before]);
    let Some(position) = Position::between(before, list.get(at), stamp, index) else { return false };
    list.insert(at, position);
    true
}

#[test]
fn what_is_put_between_neighbours_stands_between_them_whatever_was_removed() {
    for_seeds("what_is_put_between", 300, |seed| {
        let mut random = Random::new(seed);
        let (mut clock, mut list) = (Clock(1), Vec::new());
        for _ in 0..random.between(1, 120) {
            let stamp = clock.next(&mut random);
            if !list.is_empty() && random.chance(25) {
                list.remove(random.below(list.len()));
            } else {
                let at = random.below(list.len() + 1);
                assert!(put(&mut list, at, stamp, 0), "random places are never that deep");
            }
            assert!(list.is_sorted_by(|one, two| one < two), "{list:?}");
            list.iter().for_each(|position| assert_eq!(Position::of_name(&position.name()).as_ref(), Some(position)));
        }
    });
}

/// Replicas that put elements at once, each beside what it has seen.
#[test]
fn positions_of_all_replicas_are_in_one_order() {
    for_seeds("positions_of_all_replicas", 200, |seed| {
        let mut random = Random::new(seed);
        let mut clock = Clock(1);
        let mut replicas: [Vec<Position>; 3] = Default::default();
        let mut all: Vec<Position> = Vec::new();
        for _ in 0..random.between(2, 60) {
            let at = random.below(3);
            if random.chance(30) {
                // It hears everything.
                let mut known = all.clone();
                known.sort();
                replicas[at] = known;
                continue;
            }
            let stamp = clock.next(&mut random);
            let place = random.below(replicas[at].len() + 1);
            if put(&mut replicas[at], place, stamp, 0) {
                all.push(replicas[at][place].clone());
            }
        }
        for one in &all {
            for two in &all {
                assert_eq!(one.cmp(two), two.cmp(one).reverse());
                assert_eq!(one == two, one.cmp(two).is_eq());
                for three in &all {
                    assert!(!(one < two && two < three) || one < three, "{one:?} {two:?} {three:?}");
                }
            }
        }
    });
}

#[test]
fn elements_put_one_after_the_other_on_the_same_side_take_two_steps() {
    let mut random = Random::new(1);
    let mut clock = Clock(1);
    // Where the next one goes: behind the newest, in front of it, always behind the first, always in front of the last.
    for place in [|newest: usize, _| newest + 1, |newest, _| newest, |_, _| 1, |_, length| length - 1] {
        let mut list = Vec::new();
        (0..2).for_each(|at| assert!(put(&mut list, at, clock.next(&mut random), 0)));
        let mut newest = 0;
        for _ in 0..500 {
            newest = place(newest, list.len()).clamp(1, list.len() - 1);
            assert!(put(&mut list, newest, clock.next(&mut random), 0));
            assert!(list[newest].steps().len() == 2, "{:?}", list[newest]);
        }
    }
}

#[test]
fn two_elements_on_both_sides_of_the_newest_take_one_step_more() {
    let mut random = Random::new(1);
    let mut clock = Clock(1);
    let mut list = Vec::new();
    (0..2).for_each(|at| assert!(put(&mut list, at, clock.next(&mut random), 0)));
    let (mut newest, mut count) = (1, 0);
    while put(&mut list, newest, clock.next(&mut random), 0) {
        count += 1;
        assert!(list[newest].steps().len() <= 2 + count / 2, "after {count}");
        // To its other side by turns.
        newest += count % 2;
    }
    assert!(count >= 2 * (POSITION_STEPS_MAX - 2), "{count}");
    assert!(list.is_sorted());
}

#[test]
fn names_from_outside_are_positions_or_nothing() {
    for_seeds("names_from_outside", 200, |seed| {
        let mut random = Random::new(seed);
        let position = Position::at_edge(Side::Behind, Stamp::from_bits(random.word()), random.below(1 << 20) as u32);
        let inner = Position::between(Some(&position), Some(&position), Stamp::from_bits(random.word()), 3).unwrap();
        let mut name = inner.name();
        for _ in 0..random.below(4) {
            let at = random.below(name.len());
            name[at] ^= random.word() as u8;
        }
        name.truncate(name.len() - random.below(3));
        if let Some(read) = Position::of_name(&name) {
            assert_eq!(read.name(), name);
        }
    });
}

//! Consumer groups in several regions, with clocks that differ and batches that take their time: what is acknowledged is
//! not delivered where that is known, nothing is delivered twice in a region, and nothing is passed over, however late and
//! with whatever id it arrives.

#![allow(clippy::unwrap_used, reason = "these are tests; Clippy knows only about functions marked as such")]

#[path = "../../../../crdt/tests/properties/random.rs"]
mod random;

use crdt::{NodeNumber, STAMP_EPOCH_MS, StreamId, VersionVector};
use keyspace::{
    Claim, Database, Drain, GroupPlace, IdRequest, Keyspace, OpenBatch, SweepPolicy, Trim, TrimBy, Wish, Writer,
    slot_of,
};
use random::{Random, for_seeds};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

const NOW: u64 = STAMP_EPOCH_MS + (1 << 37);
const DB: Database = Database(0);
const KEY: &[u8] = b"s";
const GROUP: &[u8] = b"workers";

/// A batch on its way, what must be there before it, and what it acknowledges.
#[derive(Clone)]
struct Sent {
    batch: Arc<OpenBatch>,
    needs: VersionVector,
    acknowledged: BTreeSet<StreamId>,
}

struct Side {
    keyspace: Arc<Keyspace>,
    writer: Writer,
    drain: Drain,
    number: NodeNumber,
    now: u64,
    /// What is acknowledged, as far as this side has heard.
    acknowledged: BTreeSet<StreamId>,
    /// What it acknowledged in the batch that is open.
    unsent: BTreeSet<StreamId>,
    delivered: BTreeSet<StreamId>,
    /// Batches of others, by origin.
    inbox: BTreeMap<u16, VecDeque<Sent>>,
}

impl Side {
    fn new(number: u16, now: u64) -> Self {
        Self::of_image(number, now, &[])
    }

    /// A node that starts with an image.
    fn of_image(number: u16, now: u64, image: &[u8]) -> Self {
        let node = NodeNumber::new(number).unwrap();
        let keyspace = Keyspace::new(u64::from(number));
        if !image.is_empty() {
            keyspace.load_image(image, now).unwrap();
        }
        keyspace.set_number(node);
        let writer = keyspace.writer();
        Self {
            keyspace,
            writer,
            drain: Drain::default(),
            number: node,
            now,
            acknowledged: BTreeSet::new(),
            unsent: BTreeSet::new(),
            delivered: BTreeSet::new(),
            inbox: BTreeMap::new(),
        }
    }

    fn write<T>(&mut self, work: impl FnOnce(&mut keyspace::Access<'_>) -> T) -> T {
        let mut access = self.writer.access(self.now, &[KEY]);
        access.begin_command();
        work(&mut access)
    }

    fn add(&mut self) -> StreamId {
        self.write(|access| access.append_entry(DB, KEY, IdRequest::Generated, &[b"f", b"v"])).unwrap().unwrap()
    }

    fn ids(&mut self) -> Vec<StreamId> {
        let ids = |access: &mut keyspace::Access<'_>| {
            let stream = access.stream(DB, KEY).unwrap();
            stream.iter().flat_map(|stream| stream.range(StreamId::ZERO, StreamId::MAX)).map(|item| item.id).collect()
        };
        self.write(ids)
    }

    fn create(&mut self, place: GroupPlace) {
        assert!(self.write(|access| access.create_group(DB, KEY, GROUP, place, None)).unwrap());
    }

    fn read(&mut self, consumer: &str, count: usize, wish: Wish) -> Vec<StreamId> {
        let given =
            self.write(|access| access.read_for_group(DB, KEY, GROUP, consumer.as_bytes(), wish, count)).unwrap();
        let given = given.unwrap_or_default();
        for id in &given {
            assert!(!self.acknowledged.contains(id), "{id} was acknowledged");
            assert!(self.delivered.insert(*id), "{id} was delivered already");
        }
        if wish == Wish::NewAcknowledged {
            self.note_acknowledged(&given);
        }
        given
    }

    fn acknowledge(&mut self, ids: &[StreamId]) {
        let (all, pending) = (self.ids(), self.pending());
        let is_open = |id: &&StreamId| !self.acknowledged.contains(id) && (all.contains(id) || pending.contains(id));
        let open = ids.iter().filter(is_open).count();
        let count = self.write(|access| access.acknowledge(DB, KEY, GROUP, ids)).unwrap();
        // There may be no group yet.
        assert_eq!(count.unwrap_or_default(), open, "of {ids:?}");
        self.note_acknowledged(ids);
    }

    fn note_acknowledged(&mut self, ids: &[StreamId]) {
        self.acknowledged.extend(ids);
        self.unsent.extend(ids);
    }

    fn pending(&mut self) -> BTreeSet<StreamId> {
        let pending = self.write(|access| {
            access.with_group(DB, KEY, GROUP, |group| {
                let pending = &group.delivery().pending;
                let of_consumers: BTreeSet<StreamId> =
                    pending.consumers().flat_map(|consumer| consumer.ids.iter().copied()).collect();
                let ids = pending.range(StreamId::ZERO..=StreamId::MAX).map(|(id, _)| id).collect();
                assert_eq!(of_consumers, ids);
                ids
            })
        });
        pending.unwrap().unwrap_or_default()
    }

    fn close(&mut self) -> Vec<Sent> {
        let needs = (*self.keyspace.applied()).clone();
        let batches = self.drain.take(&self.keyspace);
        let acknowledged = std::mem::take(&mut self.unsent);
        let count = batches.len();
        // All of them are known when the last one is.
        let of = |index| if index + 1 == count { acknowledged.clone() } else { BTreeSet::new() };
        let sent = batches.into_iter().enumerate();
        sent.map(|(index, batch)| Sent { batch: Arc::new(batch), needs: needs.clone(), acknowledged: of(index) })
            .collect()
    }

    /// Hears what may be heard of one origin.
    fn hear(&mut self, origin: u16, most: usize) {
        for _ in 0..most {
            let applied = self.keyspace.applied();
            let me = self.number;
            let inbox = self.inbox.entry(origin).or_default();
            let Some(sent) = inbox.front() else { return };
            let mut needs = sent.needs.clone();
            needs.forget(me);
            if !applied.covers_all(&needs) {
                return;
            }
            let Some(Sent { batch, acknowledged, .. }) = inbox.pop_front() else { return };
            let node = NodeNumber::new(origin).unwrap();
            self.keyspace.apply(node, batch.previous, batch.last, &batch.payload, self.now).unwrap();
            self.acknowledged.extend(acknowledged);
        }
        let pending = self.pending();
        assert!(
            pending.is_disjoint(&self.acknowledged),
            "{pending:?} is pending, {:?} acknowledged",
            self.acknowledged
        );
    }

    /// Takes in all that another side has as state, and nothing else of it.
    fn merge_state_of(&mut self, other: &Side) {
        let since = (*self.keyspace.applied()).clone();
        let mut upto = (*other.keyspace.applied()).clone();
        upto.raise(other.number, other.keyspace.clock());
        let (bytes, _) = other.keyspace.list_slots(&[slot_of(KEY)], &since, usize::MAX);
        assert!(self.keyspace.merge_slots(&bytes, self.now).unwrap().is_empty());
        self.keyspace.raise_applied(&upto);
        self.acknowledged.extend(&other.acknowledged);
    }

    fn set_place(&mut self, place: GroupPlace) {
        assert!(self.write(|access| access.set_group_place(DB, KEY, GROUP, place, None)).unwrap());
    }

    /// What is delivered next, without a look at what was before: a new round is another matter.
    fn read_again(&mut self) -> Vec<StreamId> {
        let given = self.write(|access| access.read_for_group(DB, KEY, GROUP, b"ann", Wish::New, usize::MAX));
        given.unwrap().unwrap()
    }

    fn ranges(&mut self) -> usize {
        self.write(|access| access.with_group(DB, KEY, GROUP, |group| group.ranges())).unwrap().unwrap()
    }

    fn forget_consumer(&mut self, name: &[u8]) {
        let forgotten = self.write(|access| {
            access.change_group(DB, KEY, GROUP, |group| group.delivery().pending.delete(name)).unwrap().unwrap()
        });
        assert!(forgotten.is_some());
    }

    fn starts_again(&mut self) {
        let (image, _) = self.keyspace.read_image(&[slot_of(KEY)], usize::MAX);
        let applied = (*self.keyspace.applied()).clone();
        *self = Side::of_image(self.number.value(), self.now + 10, &image);
        self.keyspace.raise_applied(&applied);
    }

    fn digest(&self) -> u64 {
        self.keyspace.digest_of(slot_of(KEY)).digest
    }
}

fn every_other(ids: &[StreamId]) -> Vec<StreamId> {
    ids.iter().copied().step_by(2).collect()
}

fn send(sides: &mut [Side], at: usize) {
    let (sent, origin) = (sides[at].close(), sides[at].number.value());
    for (index, side) in sides.iter_mut().enumerate().filter(|(index, _)| *index != at) {
        assert_ne!(index, at);
        side.inbox.entry(origin).or_default().extend(sent.iter().cloned());
    }
}

fn exchange(sides: &mut [Side]) {
    (0..sides.len()).for_each(|at| send(sides, at));
    for _ in 0..200 {
        for at in 0..sides.len() {
            (1..=sides.len() as u16).for_each(|origin| sides[at].hear(origin, usize::MAX));
        }
    }
    assert!(sides.iter().all(|side| side.inbox.values().all(VecDeque::is_empty)));
}

fn step(sides: &mut [Side], random: &mut Random) {
    let at = random.below(sides.len());
    let side = &mut sides[at];
    match random.below(100) {
        0..35 => {
            for _ in 0..random.between(1, 5) {
                side.add();
            }
        }
        35..55 => {
            let wish = if random.chance(10) { Wish::NewAcknowledged } else { Wish::New };
            let consumer = *random.pick(&["ann", "bob"]);
            side.read(consumer, random.between(1, 8), wish);
        }
        55..72 => {
            let pending: Vec<StreamId> = side.pending().into_iter().collect();
            let mut chosen: Vec<StreamId> = pending.into_iter().filter(|_| random.chance(50)).collect();
            random.shuffle(&mut chosen);
            side.acknowledge(&chosen);
        }
        72..76 => {
            // In order, as most consumers do.
            let pending: Vec<StreamId> = side.pending().into_iter().take(4).collect();
            side.acknowledge(&pending);
        }
        76..79 => {
            let ids = side.ids();
            let chosen: Vec<StreamId> = ids.into_iter().filter(|_| random.chance(10)).collect();
            side.write(|access| access.remove_entries(DB, KEY, &chosen)).unwrap();
        }
        79..81 => {
            let trim = Trim { by: TrimBy::Length(random.between(5, 30) as u64), is_approximate: false, limit: None };
            side.write(|access| access.trim(DB, KEY, trim)).unwrap();
        }
        81..90 => send(sides, at),
        _ => side.hear(random.between(1, 3) as u16, random.between(1, 4)),
    }
    let ahead = random.below(5) as u64;
    sides[at].now += ahead;
}

#[test]
fn nothing_acknowledged_is_delivered_and_nothing_is_passed_over() {
    for_seeds("groups", 60, |seed| {
        let mut random = Random::new(seed);
        let clocks = [0, random.below(5_000) as u64, random.below(60_000) as u64];
        let mut sides: Vec<Side> = (1..=3u16).zip(clocks).map(|(number, skew)| Side::new(number, NOW + skew)).collect();
        for _ in 0..random.below(4) {
            let at = random.below(3);
            for _ in 0..random.between(1, 6) {
                sides[at].add();
            }
            send(&mut sides, at);
            (1..=3).for_each(|origin| sides[(at + 1) % 3].hear(origin, 9));
        }
        // One side creates the group, or two do so at once. What none of them has seen is behind the start.
        let mut before: Option<BTreeSet<StreamId>> = None;
        let creators = random.between(1, 2);
        for side in &mut sides[..creators] {
            side.add();
            let place = if random.chance(50) { GroupPlace::Last } else { GroupPlace::Behind(StreamId::ZERO) };
            let ids: BTreeSet<StreamId> =
                if place == GroupPlace::Last { side.ids().into_iter().collect() } else { BTreeSet::new() };
            side.create(place);
            before = Some(before.map_or(ids.clone(), |before| before.intersection(&ids).copied().collect()));
        }
        let before = before.unwrap_or_default();
        (0..random.between(20, 250)).for_each(|_| step(&mut sides, &mut random));
        exchange(&mut sides);
        let all = sides[0].ids();
        for side in &mut sides {
            side.read("zoe", usize::MAX, Wish::New);
            assert_eq!(side.read("zoe", usize::MAX, Wish::New), []);
            for id in &all {
                let is_done = side.delivered.contains(id) || side.acknowledged.contains(id);
                assert!(is_done || before.contains(id), "{id} was passed over by {}", side.number);
                assert!(!(side.delivered.contains(id) && before.contains(id)), "{id} was before the start");
            }
            let open = |id: &StreamId| all.contains(id) && !side.acknowledged.contains(id);
            let expected: BTreeSet<StreamId> = side.delivered.iter().copied().filter(open).collect();
            let pending: BTreeSet<StreamId> = side.pending().into_iter().filter(|id| all.contains(id)).collect();
            assert_eq!(pending, expected);
        }
        assert!(sides.iter().all(|side| side.ids_equal(&all) && side.digest() == sides[0].digest()));
        // When all is acknowledged, what is kept of it is little, however it came about.
        for at in 0..3 {
            let pending: Vec<StreamId> = sides[at].pending().into_iter().collect();
            sides[at].acknowledge(&pending);
            exchange(&mut sides);
        }
        let ranges = sides[0].ranges();
        assert!(ranges <= 3 * 3, "{ranges} ranges of three authors");
        assert!(sides.iter().all(|side| side.digest() == sides[0].digest()));
    });
}

impl Side {
    fn ids_equal(&self, ids: &[StreamId]) -> bool {
        let mut writer = self.keyspace.writer();
        let mut access = writer.access(self.now, &[KEY]);
        let stream = access.stream(DB, KEY).unwrap();
        let found: Vec<StreamId> =
            stream.iter().flat_map(|stream| stream.range(StreamId::ZERO, StreamId::MAX)).map(|item| item.id).collect();
        found == ids
    }
}

#[test]
fn what_comes_as_state_is_delivered_and_acknowledged_as_well() {
    for_seeds("groups_by_state", 40, |seed| {
        let mut random = Random::new(seed);
        let mut sides: Vec<Side> = (1..=2u16).map(|number| Side::new(number, NOW + 500 * u64::from(number))).collect();
        sides[0].add();
        sides[0].create(GroupPlace::Behind(StreamId::ZERO));
        exchange(&mut sides);
        for _ in 0..random.between(5, 60) {
            let at = random.below(2);
            match random.below(3) {
                0 => {
                    sides[at].add();
                }
                1 => drop(sides[at].read("ann", 3, Wish::New)),
                _ => {
                    let pending: Vec<StreamId> =
                        sides[at].pending().into_iter().filter(|_| random.chance(50)).collect();
                    sides[at].acknowledge(&pending);
                }
            }
        }
        // The second side hears nothing of the first one but its state, with what it knows.
        let [one, two] = &mut sides[..] else { unreachable!("there are two") };
        drop(one.close());
        let sent = two.close();
        two.merge_state_of(one);
        for Sent { batch, acknowledged, .. } in sent {
            one.keyspace.apply(two.number, batch.previous, batch.last, &batch.payload, one.now).unwrap();
            one.acknowledged.extend(acknowledged);
        }
        assert_eq!(one.digest(), two.digest());
        for side in &mut sides {
            side.read("zoe", usize::MAX, Wish::New);
            let all = side.ids();
            assert!(all.iter().all(|id| side.delivered.contains(id) || side.acknowledged.contains(id)));
            let expected: BTreeSet<StreamId> = side.delivered.difference(&side.acknowledged).copied().collect();
            assert_eq!(side.pending(), expected);
        }
    });
}

#[test]
fn an_image_has_what_was_delivered_and_a_state_session_has_not() {
    let mut side = Side::new(1, NOW);
    let ids: Vec<StreamId> = (0..6).map(|_| side.add()).collect();
    side.create(GroupPlace::Behind(StreamId::ZERO));
    assert_eq!(side.read("ann", 3, Wish::New), ids[..3]);
    assert_eq!(side.read("bob", 1, Wish::New), ids[3..4]);
    side.acknowledge(&ids[1..2]);
    let slot = slot_of(KEY);
    let (image, _) = side.keyspace.read_image(&[slot], usize::MAX);
    // The node starts again.
    let mut again = Side::of_image(1, NOW + 10, &image);
    assert_eq!((again.digest(), again.pending()), (side.digest(), [ids[0], ids[2], ids[3]].into_iter().collect()));
    assert_eq!(again.read("ann", usize::MAX, Wish::New), ids[4..]);
    // Another node is given everything but that: it delivers what nobody has acknowledged.
    let (state, _) = side.keyspace.list_slots(&[slot], &VersionVector::new(), usize::MAX);
    let mut other = Side::new(2, NOW + 10);
    assert!(other.keyspace.merge_slots(&state, NOW).unwrap().is_empty());
    assert_eq!((other.digest(), other.pending()), (side.digest(), BTreeSet::new()));
    assert_eq!(other.read("ann", usize::MAX, Wish::New), [&ids[..1], &ids[2..]].concat());
    // An image is not up to date when something was delivered since.
    let since = side.keyspace.clock();
    assert!(!side.keyspace.has_changed_since(&[slot], since));
    side.read("ann", 1, Wish::New);
    assert!(side.keyspace.has_changed_since(&[slot], since));
    // Nor is it when the slot was tidied up meanwhile.
    side.keyspace.prune();
    assert!(side.keyspace.has_changed_since(&[slot], since));
    // Hostile bytes do no harm.
    for end in 0..image.len() {
        let _ = Side::new(3, NOW).keyspace.load_image(&image[..end], NOW);
    }
}

/// Acknowledgements that a region made while another one removed the stream.
#[test]
fn what_is_left_of_a_stream_that_is_gone_is_swept() {
    let mut sides = [Side::new(1, NOW), Side::new(2, NOW)];
    let id = sides[0].add();
    sides[0].create(GroupPlace::Behind(StreamId::ZERO));
    exchange(&mut sides);
    assert_eq!(sides[1].read("ann", 1, Wish::New), [id]);
    sides[1].acknowledge(&[id]);
    assert!(sides[0].write(|access| access.delete(DB, KEY)));
    exchange(&mut sides);
    assert!(sides.iter().all(|side| side.keyspace.len(0) == 0 && side.digest() != 0));
    for at in [0, 1] {
        let Side { keyspace, writer, now, number, .. } = &mut sides[at];
        let policy = SweepPolicy {
            is_mine: &|author| author == *number,
            steps_in: &|_| false,
            grace_ms: 1_000,
            slots_max: usize::MAX,
            removals_max: u64::MAX,
            is_late: &|| false,
        };
        // Who left it removes it.
        assert_eq!(keyspace.sweep(writer, *now + 1, &policy).ghosts, at as u64);
        exchange(&mut sides);
    }
    assert!(sides.iter().all(|side| side.digest() == 0 && side.keyspace.read_image(&[slot_of(KEY)], 1).0.is_empty()));
}

#[test]
fn acknowledging_in_order_keeps_one_range_and_out_of_order_one_for_each_gap() {
    let mut side = Side::new(1, NOW);
    let ids: Vec<StreamId> = (0..300).map(|_| side.add()).collect();
    side.create(GroupPlace::Behind(StreamId::ZERO));
    side.read("ann", usize::MAX, Wish::New);
    for id in &ids[..100] {
        side.acknowledge(&[*id]);
        assert_eq!(side.ranges(), 1);
    }
    side.acknowledge(&every_other(&ids[101..200]));
    assert_eq!(side.ranges(), 51);
    let rest: Vec<StreamId> = ids[100..200].iter().copied().step_by(2).rev().collect();
    side.acknowledge(&rest);
    assert_eq!(side.ranges(), 1);
}

/// What is deleted stays pending, as in Redis. When it is not pending any more, it keeps no ranges apart.
#[test]
fn what_is_gone_keeps_ranges_apart_as_long_as_it_is_pending() {
    for (is_forgotten, expected) in [(true, 1 + 60), (false, 50 + 60)] {
        let mut side = Side::new(1, NOW);
        let ids: Vec<StreamId> = (0..300).map(|_| side.add()).collect();
        side.create(GroupPlace::Behind(StreamId::ZERO));
        side.read("ann", 100, Wish::New);
        side.read("bob", usize::MAX, Wish::New);
        side.acknowledge(&every_other(&ids[..100]));
        let trim = Trim { by: TrimBy::Id(ids[100]), is_approximate: false, limit: None };
        side.write(|access| access.trim(DB, KEY, trim)).unwrap();
        assert_eq!(side.pending().len(), 50 + 200);
        if is_forgotten {
            side.forget_consumer(b"ann");
        }
        side.acknowledge(&every_other(&ids[101..221]));
        assert_eq!(side.ranges(), expected);
    }
}

#[test]
fn a_claim_takes_what_is_pending_and_forgets_what_is_gone() {
    let mut side = Side::new(1, NOW);
    let ids: Vec<StreamId> = (0..30).map(|_| side.add()).collect();
    side.create(GroupPlace::Behind(StreamId::ZERO));
    side.read("ann", usize::MAX, Wish::New);
    side.write(|access| access.remove_entries(DB, KEY, &ids[..2])).unwrap();
    let claim = Claim { idle_ms_min: 0, delivered_ms: NOW, deliveries: None, forces: false, is_quiet: false };
    let mut from = StreamId::ZERO;
    let (mut claimed, mut gone) = (Vec::new(), Vec::new());
    for _ in 0..100 {
        let over = side.write(|access| {
            access.change_group(DB, KEY, GROUP, |group| group.claim_from(b"bob", from, 4, &claim, NOW))
        });
        let over = over.unwrap().unwrap();
        assert!(over.claimed.len() + over.gone.len() <= 4);
        claimed.extend(over.claimed);
        gone.extend(over.gone);
        match over.next {
            Some(next) => from = next,
            None => break,
        }
    }
    assert_eq!((&claimed[..], &gone[..]), (&ids[2..], &ids[..2]));
    assert_eq!(side.pending(), ids[2..].iter().copied().collect());
}

/// A later entry has a lower id than one before it, and that is so for a node that starts again too.
#[test]
fn what_is_acknowledged_after_ids_went_back_is_pending_nowhere() {
    for starts_again in [false, true] {
        let mut sides = [Side::new(1, NOW), Side::new(2, NOW)];
        let add = |side: &mut Side, ms| {
            let id = IdRequest::Given(StreamId::new(ms, 0));
            side.write(|access| access.append_entry(DB, KEY, id, &[b"f", b"v"])).unwrap().unwrap()
        };
        let high = add(&mut sides[0], 100);
        sides[0].create(GroupPlace::Behind(StreamId::ZERO));
        exchange(&mut sides);
        assert_eq!((sides[0].read("ann", 9, Wish::New), sides[1].read("bob", 9, Wish::New)), (vec![high], vec![high]));
        sides[0].acknowledge(&[high]);
        exchange(&mut sides);
        sides[0].write(|access| access.remove_entries(DB, KEY, &[high])).unwrap();
        sides[0].write(|access| access.set_stream_ids(DB, KEY, StreamId::new(50, 0), None, None)).unwrap();
        let low = add(&mut sides[0], 60);
        exchange(&mut sides);
        assert_eq!((sides[0].read("ann", 9, Wish::New), sides[1].read("bob", 9, Wish::New)), (vec![low], vec![low]));
        exchange(&mut sides);
        if starts_again {
            sides[1].starts_again();
        }
        assert_eq!(sides[1].pending(), [low].into_iter().collect());
        sides[0].acknowledge(&[low]);
        exchange(&mut sides);
        assert_eq!(sides[1].pending(), BTreeSet::new());
        assert_eq!(sides[0].digest(), sides[1].digest());
    }
}

#[test]
fn a_lone_node_that_starts_again_counts_only_what_is_pending() {
    let mut side = Side::new(1, NOW);
    let ids = [side.add(), side.add()];
    side.create(GroupPlace::Behind(StreamId::ZERO));
    assert_eq!(side.read("ann", 1, Wish::New), ids[..1]);
    let own: VersionVector = [(side.number, side.keyspace.clock())].into_iter().collect();
    side.keyspace.raise_applied(&own);
    assert_eq!(side.write(|access| access.acknowledge(DB, KEY, GROUP, &ids)).unwrap(), Some(1));
    // Where there is another node, that may have delivered the second one.
    let mut other = VersionVector::new();
    other.raise(NodeNumber::new(2).unwrap(), side.keyspace.clock());
    side.keyspace.raise_applied(&other);
    assert_eq!(side.write(|access| access.acknowledge(DB, KEY, GROUP, &[ids[1]; 3])).unwrap(), Some(1));
}

/// One region begins a round from the first entry, and another one at the same time a round of its own, in which it
/// acknowledges the entry, and which ends: it was passed over in the first region meanwhile, and has to be delivered there.
#[test]
fn what_only_an_ended_round_acknowledged_is_delivered_where_another_round_goes_on() {
    for (ends_by_another, starts_again) in [(true, false), (true, true), (false, false), (false, true)] {
        let mut sides = [Side::new(1, NOW), Side::new(2, NOW + 50)];
        let id = sides[0].add();
        sides[0].create(GroupPlace::Last);
        exchange(&mut sides);
        sides[0].set_place(GroupPlace::Behind(StreamId::ZERO));
        sides[1].set_place(GroupPlace::Behind(StreamId::ZERO));
        assert_eq!(sides[1].read_again(), [id]);
        sides[1].acknowledge(&[id]);
        send(&mut sides, 1);
        sides[0].hear(2, usize::MAX);
        assert_eq!(sides[0].read_again(), []);
        // The second region has not heard of the first one's round.
        if ends_by_another {
            sides[1].set_place(GroupPlace::Last);
        } else {
            assert!(sides[1].write(|access| access.destroy_group(DB, KEY, GROUP)).unwrap());
        }
        send(&mut sides, 1);
        sides[0].acknowledged.clear();
        sides[0].hear(2, usize::MAX);
        if starts_again {
            sides[0].starts_again();
        }
        assert_eq!(sides[0].read_again(), [id], "by another: {ends_by_another}, starts again: {starts_again}");
    }
}

/// As above, and nobody in the first region looks at the group while the second round is there.
#[test]
fn a_round_that_comes_and_goes_unseen_takes_nothing_along() {
    let mut sides = [Side::new(1, NOW), Side::new(2, NOW + 50)];
    let id = sides[0].add();
    sides[0].create(GroupPlace::Behind(StreamId::ZERO));
    exchange(&mut sides);
    sides[0].set_place(GroupPlace::Behind(StreamId::ZERO));
    sides[0].now += 1_000;
    let high = sides[0].add();
    assert_eq!(sides[0].read_again(), [id, high]);
    let late = sides[1].add();
    sides[1].set_place(GroupPlace::Behind(StreamId::ZERO));
    assert_eq!(sides[1].read_again(), [id, late]);
    sides[1].acknowledge(&[id, late]);
    send(&mut sides, 1);
    sides[0].hear(2, usize::MAX);
    assert!(sides[1].write(|access| access.destroy_group(DB, KEY, GROUP)).unwrap());
    send(&mut sides, 1);
    sides[0].acknowledged.clear();
    sides[0].hear(2, usize::MAX);
    assert_eq!(sides[0].read_again(), [id, late]);
}

/// What was acknowledged and is gone is not pending in a region that hears of both late, and by state.
#[test]
fn what_was_acknowledged_and_trimmed_is_pending_nowhere_and_takes_little() {
    let mut sides = [Side::new(1, NOW), Side::new(2, NOW + 50)];
    let ids: Vec<StreamId> = (0..40).map(|_| sides[0].add()).collect();
    sides[0].create(GroupPlace::Behind(StreamId::ZERO));
    exchange(&mut sides);
    let others: Vec<StreamId> = (0..60).map(|_| sides[1].add()).collect();
    exchange(&mut sides);
    sides[0].read("ann", usize::MAX, Wish::New);
    sides[1].read("bob", usize::MAX, Wish::New);
    sides[0].acknowledge(&every_other(&ids));
    sides[0].forget_consumer(b"ann");
    let trim = Trim { by: TrimBy::Id(others[0]), is_approximate: false, limit: None };
    sides[0].write(|access| access.trim(DB, KEY, trim)).unwrap();
    sides[0].acknowledge(&every_other(&others));
    // One of what is gone, and those that are kept apart by what is not acknowledged.
    assert_eq!(sides[0].ranges(), 1 + 30);
    drop(sides[0].close());
    let [one, two] = &mut sides;
    two.merge_state_of(one);
    assert_eq!(one.digest(), two.digest());
    assert!(two.pending().is_disjoint(&one.acknowledged), "{:?}", two.pending());
}

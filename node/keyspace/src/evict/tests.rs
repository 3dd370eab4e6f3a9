//! Who goes: the old, the rare, those that end soon; and how well that works on a skewed trace.

use super::*;
use crate::write::{Delta, NewLifetime};
use crdt::NodeNumber;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

const NOW: UnixMillis = 1_700_000_000_000;
const DB: Database = Database(0);

struct Scene {
    keyspace: Arc<Keyspace>,
    writer: Writer,
    evictor: Evictor,
    now: UnixMillis,
}

impl Scene {
    fn new() -> Self {
        let keyspace = Keyspace::new(1);
        keyspace.set_number(NodeNumber::new(1).unwrap());
        Self { writer: keyspace.writer(), keyspace, evictor: Evictor::new(1), now: NOW }
    }

    fn put(&mut self, name: &str, lifetime: Lifetime) {
        let mut access = self.writer.access(self.now, &[name.as_bytes()]);
        access.begin_command();
        access.put_string(DB, name.as_bytes(), b"v", NewLifetime::Set(lifetime));
    }

    fn is_there(&mut self, name: &str) -> bool {
        self.writer.access(self.now, &[name.as_bytes()]).touch(DB, name.as_bytes())
    }

    fn evict(&mut self, rank: EvictionRank, volatile_only: bool) -> Eviction {
        self.evictor.evict(&mut self.writer, self.now, &EvictionPolicy { rank, volatile_only, samples: 5 })
    }

    /// Evicts a number of keys and says which are left.
    fn left(&mut self, rank: EvictionRank, volatile_only: bool, evictions: usize) -> BTreeSet<String> {
        for _ in 0..evictions {
            assert!(matches!(self.evict(rank, volatile_only), Eviction::Removed { bytes } if bytes > 20));
        }
        let mut left = BTreeSet::new();
        let keep = &mut |key: &[u8], _| {
            left.insert(String::from_utf8_lossy(key).into_owned());
        };
        assert_eq!(self.writer.access_none(self.now).scan(DB, 0, usize::MAX, keep), 0);
        left
    }
}

/// How many of the hundred keys that should go last are among those left.
fn spared(left: &BTreeSet<String>, prefix: &str) -> usize {
    left.iter().filter(|name| name.starts_with(prefix)).count()
}

/// Or others go for what it has freed: rounding by the allocator was left out.
#[test]
fn an_eviction_says_what_the_key_took() {
    let mut scene = Scene::new();
    let rank = EvictionRank::Recency;
    for (key, fields) in [(b"few".as_slice(), 3), (b"many", 300)] {
        let mut access = scene.writer.access(NOW, &[key]);
        access.begin_command();
        for field in 0..fields {
            access.put_field(DB, key, format!("field {field}").as_bytes(), &[b'v'; 40]).unwrap();
        }
        let took = access.memory_of(DB, key, usize::MAX).unwrap();
        drop(access);
        assert_eq!(scene.evict(rank, false), Eviction::Removed { bytes: took });
    }
    scene.put("a text", Lifetime::Never);
    let took = scene.writer.access(NOW, &[b"a text"]).memory_of(DB, b"a text", usize::MAX).unwrap();
    assert_eq!(scene.evict(rank, false), Eviction::Removed { bytes: took });
}

#[test]
fn keys_that_were_not_used_for_long_go_first() {
    let mut scene = Scene::new();
    for (prefix, later_ms) in [("old", 0), ("new", 600_000)] {
        scene.now = NOW + later_ms;
        (0..100).for_each(|number| scene.put(&format!("{prefix}:{number}"), Lifetime::Never));
    }
    let left = scene.left(EvictionRank::Recency, false, 80);
    assert!(spared(&left, "new") >= 98, "{}", spared(&left, "new"));
}

#[test]
fn keys_that_are_rarely_used_go_first() {
    let mut scene = Scene::new();
    scene.keyspace.track_use(Tracking::Frequency { log_factor: 10, decay_minutes: 1 });
    for number in 0..100 {
        scene.put(&format!("often:{number}"), Lifetime::Never);
        scene.put(&format!("rare:{number}"), Lifetime::Never);
        (0..100).for_each(|_| assert!(scene.is_there(&format!("often:{number}"))));
    }
    let left = scene.left(EvictionRank::Frequency, false, 80);
    assert!(spared(&left, "often") >= 98, "{}", spared(&left, "often"));
}

#[test]
fn keys_that_end_soon_go_first_and_those_without_an_end_never() {
    let mut scene = Scene::new();
    for number in 0..100 {
        scene.put(&format!("soon:{number}"), Lifetime::Until(NOW + 10_000));
        scene.put(&format!("later:{number}"), Lifetime::Until(NOW + 90_000));
        scene.put(&format!("never:{number}"), Lifetime::Never);
    }
    let left = scene.left(EvictionRank::Deadline, true, 80);
    assert!(spared(&left, "later") >= 98 && spared(&left, "never") == 100);
}

#[test]
fn every_policy_spares_keys_without_an_end_if_it_says_so_and_finds_the_others() {
    for rank in [EvictionRank::Recency, EvictionRank::Frequency, EvictionRank::Chance, EvictionRank::Deadline] {
        let mut scene = Scene::new();
        (0..20_000).for_each(|number| scene.put(&format!("never:{number}"), Lifetime::Never));
        (0..3).for_each(|number| scene.put(&format!("ends:{number}"), Lifetime::Until(NOW + 90_000)));
        let mut removed = 0;
        while scene.keyspace.keys_with_end(0) > 0 {
            removed += usize::from(matches!(scene.evict(rank, true), Eviction::Removed { .. }));
        }
        assert_eq!((removed, scene.keyspace.len(0)), (3, 20_000));
        assert_eq!(scene.evict(rank, true), Eviction::Nothing);
    }
}

#[test]
fn an_empty_keyspace_has_nothing_to_evict() {
    assert_eq!(Scene::new().evict(EvictionRank::Recency, false), Eviction::Nothing);
}

#[test]
fn a_key_that_was_used_since_it_became_a_candidate_stays() {
    let mut scene = Scene::new();
    (0..16).for_each(|number| scene.put(&format!("k:{number}"), Lifetime::Never));
    scene.now += 60_000;
    scene.evict(EvictionRank::Recency, false);
    let kept: Vec<String> = scene.evictor.pool.iter().map(|c| String::from_utf8_lossy(&c.key).into_owned()).collect();
    assert!(!kept.is_empty());
    kept.iter().for_each(|name| assert!(scene.is_there(name)));
    scene.evict(EvictionRank::Recency, false);
    assert!(kept.iter().all(|name| scene.is_there(name)));
}

/// All keys of one slot, and one key in each of many others: each goes with the same chance.
#[test]
fn the_keys_of_a_crowded_slot_go_as_often_as_others() {
    let mut scene = Scene::new();
    for number in 0..1_000 {
        scene.put(&format!("{{tag}}:{number}"), Lifetime::Never);
        scene.put(&format!("alone:{number}"), Lifetime::Never);
    }
    let left = scene.left(EvictionRank::Chance, false, 1_000);
    assert!((400..600).contains(&spared(&left, "alone")), "{}", spared(&left, "alone"));
}

#[test]
fn counters_of_others_stay_when_too_many_resets_are_remembered() {
    let mut scene = Scene::new();
    let mut access = scene.writer.access(NOW, &[b"n"]);
    access.begin_command();
    access.add_to_string(DB, b"n", Delta::Integer(1));
    drop(access);
    scene.keyspace.set_number(NodeNumber::new(2).unwrap());
    scene.keyspace.shared.count_resets(EVICTION_RESETS_MAX as i64);
    assert_eq!(scene.evict(EvictionRank::Recency, false), Eviction::Nothing);
    scene.keyspace.shared.count_resets(-1);
    assert!(matches!(scene.evict(EvictionRank::Recency, false), Eviction::Removed { .. }));
}

#[test]
fn where_no_key_may_go_the_search_ends_until_one_may() {
    let mut scene = Scene::new();
    for number in 0..20_000 {
        let name = format!("n:{number}");
        let mut access = scene.writer.access(NOW, &[name.as_bytes()]);
        access.begin_command();
        access.add_to_string(DB, name.as_bytes(), Delta::Integer(1));
        access.begin_command();
        access.set_lifetime(DB, name.as_bytes(), Lifetime::Until(NOW + 90_000));
    }
    scene.keyspace.set_number(NodeNumber::new(2).unwrap());
    scene.keyspace.shared.count_resets(EVICTION_RESETS_MAX as i64);
    let searched = (0..100).take_while(|_| scene.evict(EvictionRank::Deadline, true) == Eviction::Searching).count();
    assert!((1..100).contains(&searched), "{searched}");
    assert_eq!(scene.evict(EvictionRank::Deadline, true), Eviction::Nothing);
    // One of this node's own may go, and is found.
    scene.put("mine", Lifetime::Until(NOW + 90_000));
    let found = (0..100).find(|_| matches!(scene.evict(EvictionRank::Deadline, true), Eviction::Removed { .. }));
    assert!(found.is_some() && !scene.is_there("mine"));
    scene.keyspace.shared.count_resets(-1);
    assert!((0..100).any(|_| matches!(scene.evict(EvictionRank::Deadline, true), Eviction::Removed { .. })));
}

/// The walk may not look at all keys of a slot under one lock: it goes on where it was.
#[test]
fn a_walk_through_a_crowded_slot_takes_many_evictions() {
    const CROWD: usize = 50_000;
    let mut scene = Scene::new();
    (0..CROWD).for_each(|number| scene.put(&format!("{{tag}}:{number}"), Lifetime::Never));
    let crowded = crate::slot_of(b"{tag}");
    let later = (0..).map(|number| format!("k:{number}")).find(|name| crate::slot_of(name.as_bytes()) > crowded);
    scene.put(&later.unwrap(), Lifetime::Until(NOW + 90_000));
    let searched = (0..1_000).take_while(|_| scene.evict(EvictionRank::Deadline, true) == Eviction::Searching).count();
    assert!((CROWD / (ROUNDS_MAX * WALK_CELLS_MAX) - 1..1_000).contains(&searched), "{searched}");
    assert_eq!((scene.keyspace.keys_with_end(0), scene.keyspace.len(0)), (0, CROWD as u64));
}

/// No client and no peer that keeps to the protocol says so; bytes of a peer may.
#[test]
fn a_key_that_ends_at_the_end_of_time_goes_last() {
    let scene = Scene::new();
    let stamp = crdt::Stamp::from_bits(1);
    let ending = |deadline| {
        let life = crate::entry::PackedLife::Asserted(stamp, Lifetime::Until(deadline));
        let entry = KeyEntry::packed(stamp, life, 0, b"k", b"v");
        let policy = EvictionPolicy { rank: EvictionRank::Deadline, volatile_only: true, samples: 5 };
        score(&scene.keyspace.shared, &entry, NOW, &policy)
    };
    assert_eq!((ending(u64::MAX), ending(u64::MAX - 1)), (Some(0), Some(0)));
    assert!(ending(NOW + 1) > ending(NOW + 2));
}

const TRACE_KEYS: u64 = 20_000;
const TRACE_LENGTH: usize = 200_000;
const CACHE_KEYS: u64 = 2_000;

/// A trace in which the nth key is asked for 1/n times as often as the first.
fn trace() -> Vec<u64> {
    let mut sums = Vec::new();
    let mut sum = 0.0;
    for rank in 1..=TRACE_KEYS {
        sum += 1.0 / rank as f64;
        sums.push(sum);
    }
    let mut random = 42;
    let mut draw = || {
        random = next_random(random);
        let place = (random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1_u64 << 53) as f64 * sum;
        sums.partition_point(|&end| end < place) as u64
    };
    (0..TRACE_LENGTH).map(|_| draw()).collect()
}

/// The share of hits of a cache that always evicts the key that was not used for longest.
fn hits_of_exact_recency(trace: &[u64]) -> f64 {
    let (mut used, mut order, mut hits) = (HashMap::new(), BTreeMap::new(), 0);
    for (at, &key) in trace.iter().enumerate() {
        if let Some(before) = used.insert(key, at) {
            hits += 1;
            order.remove(&before);
        }
        order.insert(at, key);
        if order.len() as u64 > CACHE_KEYS {
            let (_, oldest) = order.pop_first().unwrap();
            used.remove(&oldest);
        }
    }
    f64::from(hits) / trace.len() as f64
}

/// The share of hits of a cache that holds the most frequent keys from the beginning, without ever learning them.
fn hits_of_perfect_frequency(trace: &[u64]) -> f64 {
    trace.iter().filter(|&&key| key < CACHE_KEYS).count() as f64 / trace.len() as f64
}

fn hits_of(scene: &mut Scene, rank: EvictionRank, trace: &[u64]) -> f64 {
    let mut hits = 0;
    for key in trace {
        scene.now += 10;
        let name = key.to_string();
        if scene.is_there(&name) {
            hits += 1;
            continue;
        }
        scene.put(&name, Lifetime::Never);
        while scene.keyspace.len(0) > CACHE_KEYS {
            scene.evict(rank, false);
        }
    }
    f64::from(hits) / trace.len() as f64
}

/// Redis' documentation shows that five samples and a pool come near to the exact order; here within two points.
#[test]
fn the_hit_rate_of_a_skewed_trace_is_near_that_of_exact_policies() {
    let trace = trace();
    let recency = hits_of(&mut Scene::new(), EvictionRank::Recency, &trace);
    let exact = hits_of_exact_recency(&trace);
    assert!((recency - exact).abs() < 0.02, "recency {recency:.4}, exact {exact:.4}");
    let mut scene = Scene::new();
    scene.keyspace.track_use(Tracking::Frequency { log_factor: 10, decay_minutes: 1 });
    let frequency = hits_of(&mut scene, EvictionRank::Frequency, &trace);
    let perfect = hits_of_perfect_frequency(&trace);
    assert!(frequency > recency && frequency > perfect - 0.08, "frequency {frequency:.4}, perfect {perfect:.4}");
    let chance = hits_of(&mut Scene::new(), EvictionRank::Chance, &trace);
    assert!(chance < recency, "chance {chance:.4}");
    println!("recency {recency:.4} exact {exact:.4} frequency {frequency:.4} perfect {perfect:.4} chance {chance:.4}");
}

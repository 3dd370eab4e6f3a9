//! The table of the contract, row by row: what two regions do at once, and what all of them show afterwards.

use crate::generator::KEYS;
use crate::history::{Delta, Key, Life, NewLife, Write};
use crate::replicas::{Cluster, Traffic};
use crate::spec::{Content, Shown};
use crate::spec_stream::{Kept, Wanted};
use crate::system::{System, slots};
use crdt::STAMP_EPOCH_MS;

const K: Key = KEYS[0];
const OTHER: Key = KEYS[1];
const NOW: u64 = STAMP_EPOCH_MS + (1 << 37);

/// One row: what all had seen, then what two regions do at once. The second region's clock is later.
struct Row {
    before: Vec<Write>,
    first: Vec<Write>,
    second: Vec<Write>,
}

impl Row {
    /// What every region shows once all have exchanged everything.
    fn shown(&self, key: Key) -> Option<Shown> {
        let replicas = (0..3).map(|index| System::new(index, NOW + 2 * index as u64)).collect();
        let mut cluster = Cluster::new(replicas, slots().len());
        run(&mut cluster, 0, &self.before);
        cluster.settle();
        run(&mut cluster, 0, &self.first);
        cluster.replicas[1].now += 1000;
        run(&mut cluster, 1, &self.second);
        // One of them arrives at the third region before the other.
        cluster.step(Traffic::Close { at: 1 });
        cluster.step(Traffic::Deliver { origin: 1, to: 2, batches: 1 });
        cluster.settle();
        let shown: Vec<_> = cluster.replicas.iter_mut().map(|replica| replica.shown(key)).collect();
        assert!(shown.iter().all(|other| *other == shown[0]), "regions differ: {shown:?}");
        shown.into_iter().next()?
    }
}

fn run(cluster: &mut Cluster<System>, at: usize, writes: &[Write]) {
    for write in writes {
        cluster.replicas[at].run(0, &[vec![*write]]);
        // A later command is later for the clock too, as far as lives are concerned.
        cluster.replicas[at].now += 2;
    }
}

fn set(value: &'static str) -> Write {
    Write::PutString { key: K, value, life: NewLife::Never }
}

fn incr(by: i64) -> Write {
    Write::AddToString { key: K, delta: Delta::Integer(by) }
}

fn hset(field: &'static str, value: &'static str) -> Write {
    Write::PutField { key: K, field, value }
}

fn hdel(field: &'static str) -> Write {
    Write::RemoveField { key: K, field }
}

fn hincr(field: &'static str, by: i64) -> Write {
    Write::AddToField { key: K, field, delta: Delta::Integer(by) }
}

fn sadd(member: &'static str) -> Write {
    Write::AddMember { key: K, member }
}

fn srem(member: &'static str) -> Write {
    Write::RemoveMember { key: K, member }
}

fn rpush(values: &'static [&'static str]) -> Write {
    Write::Push { key: K, is_head: false, values }
}

fn lpush(values: &'static [&'static str]) -> Write {
    Write::Push { key: K, is_head: true, values }
}

fn insert(index: usize, value: &'static str) -> Write {
    Write::InsertElement { key: K, index, value }
}

fn lset(index: usize, value: &'static str) -> Write {
    Write::SetElement { key: K, index, value }
}

const LPOP: Write = Write::Pop { key: K, is_head: true, count: 1 };

fn zadd(score: &'static str, member: &'static str) -> Write {
    Write::PutScore { key: K, member, score }
}

fn zincrby(delta: Delta, member: &'static str) -> Write {
    Write::AddToScore { key: K, member, delta }
}

fn zrem(member: &'static str) -> Write {
    Write::RemoveScored { key: K, member }
}

fn xadd(ms: u64, value: &'static str) -> Write {
    Write::Append { key: K, wanted: Wanted::This((ms, 1)), value }
}

fn xadd_in(ms: u64, value: &'static str) -> Write {
    Write::Append { key: K, wanted: Wanted::NextIn(ms), value }
}

fn xdel(ms: u64) -> Write {
    Write::DeleteEntries { key: K, ids: [(ms, 1), (ms, 1)] }
}

fn xtrim(most: usize) -> Write {
    Write::TrimStream { key: K, kept: Kept::Most(most) }
}

fn expire(ms: u64) -> Write {
    Write::SetLife { key: K, life: NewLife::For(ms) }
}

fn hexpire(ms: u64) -> Write {
    Write::SetFieldLife { key: K, field: "f", life: NewLife::For(ms) }
}

const HPERSIST: Write = Write::SetFieldLife { key: K, field: "f", life: NewLife::Never };
const DEL: Write = Write::Delete { key: K };
const PERSIST: Write = Write::SetLife { key: K, life: NewLife::Never };
const FLUSHDB: Write = Write::Clear { database: Some(0) };
const FLUSHALL: Write = Write::Clear { database: None };

/// Both orders of the row: the first region's writes are the earlier ones, then the later ones.
fn both(before: &[Write], one: &[Write], two: &[Write]) -> [Option<Shown>; 2] {
    let row = |first: &[Write], second: &[Write]| Row {
        before: before.to_vec(),
        first: first.to_vec(),
        second: second.to_vec(),
    };
    [row(one, two).shown(K), row(two, one).shown(K)]
}

fn texts(shown: [Option<Shown>; 2]) -> [Option<String>; 2] {
    shown.map(|shown| match shown?.content {
        Content::String(text) => Some(text),
        Content::List(texts) => Some(texts.join(" ")),
        Content::Stream(stream) => {
            let entry = |((ms, sequence), value): ((u64, u64), String)| format!("{ms}-{sequence}={value}");
            Some(stream.entries.into_iter().map(entry).collect::<Vec<_>>().join(" "))
        }
        Content::Hash(fields) | Content::SortedSet(fields) => {
            Some(fields.into_iter().map(|(field, value)| format!("{field}={value}")).collect::<Vec<_>>().join(" "))
        }
        Content::Set(members) => Some(members.into_iter().collect::<Vec<_>>().join(" ")),
    })
}

/// The same whoever's clock is ahead.
fn always(before: &[Write], one: &[Write], two: &[Write], expected: Option<&str>) {
    let expected = expected.map(String::from);
    assert_eq!(texts(both(before, one, two)), [expected.clone(), expected], "{before:?}: {one:?} and {two:?}");
}

/// What the later one says.
fn later(before: &[Write], one: &[Write], two: &[Write], one_later: &str, two_later: &str) {
    let expected = [Some(two_later.to_string()), Some(one_later.to_string())];
    assert_eq!(texts(both(before, one, two)), expected, "{before:?}: {one:?} and {two:?}");
}

fn lives(before: &[Write], one: &[Write], two: &[Write]) -> [Option<Life>; 2] {
    both(before, one, two).map(|shown| shown.map(|shown| shown.life))
}

#[test]
fn strings() {
    later(&[], &[set("x")], &[set("y")], "x", "y");
    always(&[set("old")], &[DEL], &[set("y")], Some("y"));
    // A write of the whole value that keeps the life, as APPEND does.
    let append = Write::PutString { key: K, value: "old+", life: NewLife::Keep };
    later(&[set("old")], &[append], &[set("y")], "old+", "y");
    always(&[set("old")], &[DEL], &[DEL], None);
}

#[test]
fn counters() {
    always(&[], &[incr(3)], &[incr(4)], Some("7"));
    always(&[set("5")], &[incr(3)], &[incr(-4)], Some("4"));
    always(&[incr(10)], &[set("100")], &[incr(4)], Some("104"));
    always(&[incr(10)], &[DEL], &[incr(4)], Some("4"));
    always(&[incr(10), incr(5)], &[incr(1), DEL], &[incr(4)], Some("4"));
    // Text hides an increment; the next whole write drops it.
    always(&[set("5")], &[set("abc")], &[incr(1)], Some("abc"));
    let float = Write::AddToString { key: K, delta: Delta::Float("0.25") };
    always(&[set("1")], &[incr(3)], &[float], Some("4.25"));
    let near_the_end = [set("9223372036854775800")];
    always(&near_the_end, &[incr(7)], &[incr(7)], Some("9223372036854775807"));
}

#[test]
fn a_hidden_increment_goes_with_the_next_whole_write() {
    let replicas = (0..2).map(|index| System::new(index, NOW)).collect();
    let mut cluster = Cluster::new(replicas, slots().len());
    run(&mut cluster, 0, &[set("5")]);
    cluster.settle();
    run(&mut cluster, 0, &[set("abc")]);
    run(&mut cluster, 1, &[incr(1)]);
    cluster.settle();
    run(&mut cluster, 0, &[set("8")]);
    cluster.settle();
    for replica in &mut cluster.replicas {
        assert_eq!(replica.shown(K).unwrap().content, Content::String("8".into()));
    }
}

#[test]
fn hashes() {
    always(&[], &[hset("f", "1")], &[hset("g", "2")], Some("f=1 g=2"));
    later(&[], &[hset("f", "x")], &[hset("f", "y")], "f=x", "f=y");
    always(&[hset("f", "1"), hset("g", "2")], &[hdel("f")], &[hset("f", "x")], Some("f=x g=2"));
    always(&[hset("f", "1"), hset("g", "2")], &[DEL], &[hset("f", "x")], Some("f=x"));
    always(&[], &[hincr("f", 2)], &[hincr("f", 3)], Some("f=5"));
    always(&[hset("f", "10")], &[hset("f", "20")], &[hincr("f", 3)], Some("f=23"));
    always(&[hset("f", "10"), hincr("f", 1)], &[hdel("f")], &[hincr("f", 3)], Some("f=3"));
    always(&[hincr("f", 1), hincr("g", 1)], &[DEL], &[hincr("g", 3)], Some("g=3"));
    // Removing one field never touches the others.
    always(&[hset("f", "1"), hset("g", "2")], &[hdel("f")], &[hset("h", "3")], Some("g=2 h=3"));
}

#[test]
fn sets() {
    always(&[sadd("f")], &[sadd("f")], &[srem("f")], Some("f"));
    always(&[sadd("f")], &[srem("f")], &[srem("f")], None);
    always(&[sadd("f")], &[srem("f")], &[sadd("g")], Some("g"));
    always(&[sadd("f"), sadd("g")], &[DEL], &[sadd("g")], Some("g"));
}

#[test]
fn streams() {
    let abc = [xadd(1, "a"), xadd(2, "b"), xadd(3, "c")];
    always(&[], &[xadd(5, "x")], &[xadd(6, "y")], Some("5-1=x 6-1=y"));
    // The id stands once, with the later entry.
    later(&[], &[xadd(5, "x")], &[xadd(5, "y")], "5-1=x", "5-1=y");
    // Generated sequence numbers carry the node, so that both stand.
    later(&[], &[xadd_in(5, "x")], &[xadd_in(5, "y")], "5-0=x 5-7=y", "5-0=y 5-7=x");
    // A removal takes what it had observed.
    always(&abc, &[DEL], &[xadd(4, "d")], Some("4-1=d"));
    always(&abc, &[xtrim(1)], &[xadd(4, "d")], Some("3-1=c 4-1=d"));
    always(&abc, &[xtrim(0)], &[xadd(4, "d")], Some("4-1=d"));
    always(&abc, &[xtrim(2)], &[xtrim(1)], Some("3-1=c"));
    always(&abc, &[xdel(2)], &[xdel(3)], Some("1-1=a"));
    always(&abc, &[xdel(3), xadd(5, "x")], &[xadd(4, "d")], Some("1-1=a 2-1=b 4-1=d 5-1=x"));
    // What was removed in one region and stands as another entry in the other.
    always(&[xadd(5, "x")], &[xdel(5)], &[DEL, xadd(5, "y")], Some("5-1=y"));
    // An entry that was added beside a deletion of everything is in a stream of its own.
    always(&abc, &[DEL, xadd(1, "n")], &[xadd(4, "d")], Some("1-1=n 4-1=d"));
    // A deleted entry leaves an empty stream, and that is a write like others.
    always(&[xadd(1, "a")], &[DEL], &[xdel(1)], Some(""));
    always(&[xadd(1, "a")], &[DEL], &[DEL], None);
    later(&[], &[xadd(1, "x")], &[sadd("f")], "1-1=x", "f");
}

#[test]
fn lists() {
    let abc = [rpush(&["a", "b", "c"])];
    later(&[], &[rpush(&["a"])], &[rpush(&["b"])], "b a", "a b");
    later(&[], &[lpush(&["a"])], &[lpush(&["b"])], "a b", "b a");
    // What one command puts stays together; one region's own pushes keep their order.
    later(&[], &[rpush(&["a", "b"])], &[rpush(&["x", "y"])], "x y a b", "a b x y");
    later(&[], &[lpush(&["a", "b"])], &[lpush(&["x", "y"])], "b a y x", "y x b a");
    later(&abc, &[rpush(&["1"]), rpush(&["2"])], &[rpush(&["x"])], "a b c x 1 2", "a b c 1 2 x");
    // Beside the same element the later one is nearer to it.
    later(&abc, &[insert(1, "1")], &[insert(1, "2")], "a 1 2 b c", "a 2 1 b c");
    later(&abc, &[insert(1, "1"), insert(2, "3")], &[insert(1, "2")], "a 1 2 3 b c", "a 2 1 3 b c");
    always(&abc, &[LPOP], &[LPOP], Some("b c"));
    always(&abc, &[LPOP, LPOP], &[LPOP], Some("c"));
    always(&abc, &[DEL], &[rpush(&["y"])], Some("y"));
    always(&abc, &[Write::RemoveElements { key: K, start: 1, end: 3 }], &[rpush(&["y"])], Some("a y"));
    always(&abc, &[LPOP, LPOP, LPOP], &[rpush(&["y"])], Some("y"));
    always(&abc, &[LPOP], &[insert(1, "x")], Some("x b c"));
    later(&abc, &[lset(1, "x")], &[lset(1, "y")], "a x c", "a y c");
    always(&abc, &[lset(1, "x")], &[Write::RemoveElements { key: K, start: 1, end: 2 }], Some("a x c"));
    always(&abc, &[lset(0, "x")], &[LPOP], Some("x b c"));
    let rotate = [Write::Rotate { key: K, is_head: true }];
    // A rotation in both regions moves the element once or leaves it twice.
    always(&abc, &rotate, &rotate, Some("b c a a"));
    later(&[], &[rpush(&["x"])], &[sadd("f")], "x", "f");
}

#[test]
fn sorted_sets() {
    let (two, three) = (Delta::Integer(2), Delta::Integer(3));
    later(&[], &[zadd("1", "f")], &[zadd("2", "f")], "f=1", "f=2");
    always(&[], &[zadd("1", "f")], &[zadd("2", "g")], Some("f=1 g=2"));
    always(&[], &[zincrby(two, "f")], &[zincrby(three, "f")], Some("f=5"));
    always(&[zadd("1", "f")], &[zadd("4.5", "f")], &[zincrby(two, "f")], Some("f=6.5"));
    always(&[zadd("4.125", "f")], &[zrem("f")], &[zincrby(two, "f")], Some("f=2"));
    always(&[zadd("4.125", "f")], &[zincrby(Delta::Float("0.5"), "f")], &[zincrby(two, "f")], Some("f=6.625"));
    always(&[zadd("1", "f")], &[zrem("f")], &[zadd("1", "f")], Some("f=1"));
    always(&[zadd("1", "f"), zadd("2", "g")], &[DEL], &[zincrby(two, "g")], Some("g=2"));
    // An infinity hides an increment.
    always(&[zadd("1", "f")], &[zadd("inf", "f")], &[zincrby(two, "f")], Some("f=inf"));
    later(&[], &[zadd("1", "f")], &[sadd("f")], "f=1", "f");
}

#[test]
fn lifetimes() {
    let longest = |before: &[Write], one: &[Write], two: &[Write], from: u64, to: u64| {
        for life in lives(before, one, two) {
            assert!(
                matches!(life, Some(Life::Until(deadline)) if (NOW + from..NOW + to).contains(&deadline)),
                "{before:?}: {one:?} and {two:?} gives {life:?}"
            );
        }
    };
    let endless = |before: &[Write], one: &[Write], two: &[Write]| {
        assert_eq!(lives(before, one, two), [Some(Life::Never); 2], "{before:?}: {one:?} and {two:?}");
    };
    longest(&[set("x")], &[expire(10_001)], &[expire(50_001)], 50_000, 55_000);
    endless(&[set("x"), expire(20_001)], &[PERSIST], &[expire(50_001)]);
    endless(&[set("x")], &[set("y")], &[expire(50_001)]);
    endless(&[sadd("f")], &[set("y")], &[expire(50_001)]);
    // A write to a key repeats its longer life.
    longest(&[set("1"), expire(90_001)], &[expire(5001)], &[incr(1)], 85_000, 95_000);
    longest(&[hset("f", "1"), expire(90_001)], &[expire(5001)], &[hset("g", "1")], 85_000, 95_000);
    // A new life does not end with the old one.
    endless(&[sadd("f")], &[DEL, sadd("g")], &[expire(5001)]);
    longest(&[sadd("f")], &[DEL, sadd("g"), expire(90_001)], &[expire(5001)], 85_000, 95_000);
}

#[test]
fn lifetimes_of_fields() {
    let end = |shown: Option<Shown>| shown.and_then(|shown| shown.ends.get("f").copied());
    let longest = |before: &[Write], one: &[Write], two: &[Write], from: u64, to: u64| {
        for end in both(before, one, two).map(end) {
            let is_right = end.is_some_and(|deadline| (NOW + from..NOW + to).contains(&deadline));
            assert!(is_right, "{before:?}: {one:?} and {two:?} gives {end:?}");
        }
    };
    let endless = |before: &[Write], one: &[Write], two: &[Write], expected: &str| {
        let shown = both(before, one, two);
        assert_eq!(shown.clone().map(end), [None; 2], "{before:?}: {one:?} and {two:?}");
        assert_eq!(texts(shown), [Some(expected.to_string()), Some(expected.to_string())]);
    };
    let f = [hset("f", "1")];
    longest(&f, &[hexpire(10_001)], &[hexpire(50_001)], 50_000, 55_000);
    endless(&[hset("f", "1"), hexpire(20_001)], &[HPERSIST], &[hexpire(50_001)], "f=1");
    // A write of the field asserts that it has no end, and its value stands.
    endless(&f, &[hset("f", "2")], &[hexpire(50_001)], "f=2");
    endless(&[hset("f", "1"), hexpire(20_001)], &[hset("f", "2")], &[hexpire(50_001)], "f=2");
    // A write of the field with its life, or keeping it.
    let put = |life| Write::PutFieldFor { key: K, field: "f", value: "2", life };
    longest(&f, &[put(NewLife::For(10_001))], &[hexpire(50_001)], 50_000, 55_000);
    longest(&[hset("f", "1"), hexpire(90_001)], &[put(NewLife::Keep)], &[hexpire(5001)], 85_000, 95_000);
    // A removal removes what it observed: the assertion alone brings nothing back.
    endless(&[hset("f", "1"), hset("g", "2")], &[hdel("f")], &[hexpire(50_001)], "g=2");
    assert_eq!(both(&f, &[DEL], &[hexpire(50_001)]), [None, None]);
    // An increment repeats a longer life; a field without an end that was there takes the end.
    longest(&[hset("f", "1"), hexpire(90_001)], &[hexpire(5001)], &[hincr("f", 1)], 85_000, 95_000);
    longest(&f, &[hincr("f", 1)], &[hexpire(50_001)], 50_000, 55_000);
    longest(&[hincr("f", 1)], &[hincr("f", 1)], &[hexpire(50_001)], 50_000, 55_000);
    // A new life does not end with the old one.
    endless(&f, &[hdel("f"), hincr("f", 3)], &[hexpire(5001)], "f=3");
    endless(&f, &[DEL, hset("f", "3")], &[hexpire(5001)], "f=3");
    longest(&f, &[hdel("f"), hset("f", "3"), hexpire(90_001)], &[hexpire(5001)], 85_000, 95_000);
    // The other fields have nothing to do with it, and a copy has the ends of what it copies.
    let copy = [Write::Copy { source: K, target: OTHER }];
    let row = Row { before: vec![hset("f", "1"), hset("g", "2")], first: vec![hexpire(9001)], second: copy.to_vec() };
    assert_eq!(row.shown(K).unwrap().ends.keys().collect::<Vec<_>>(), ["f"]);
    assert!(row.shown(OTHER).unwrap().ends.is_empty());
    let row = Row { before: vec![hset("f", "1"), hexpire(9001)], first: copy.to_vec(), second: vec![hset("g", "2")] };
    assert_eq!(row.shown(OTHER).unwrap().ends, row.shown(K).unwrap().ends);
}

#[test]
fn an_expired_field_is_absent_at_once_and_goes_everywhere_with_its_hash() {
    let replicas = (0..2).map(|index| System::new(index, NOW)).collect();
    let mut cluster = Cluster::new(replicas, slots().len());
    run(&mut cluster, 0, &[hset("f", "1"), hset("g", "2"), hexpire(5001)]);
    cluster.settle();
    cluster.replicas.iter_mut().for_each(|replica| replica.now = NOW + 6000);
    let only_g = Content::Hash([("g".into(), "2".into())].into());
    assert!(cluster.replicas.iter_mut().all(|replica| replica.shown(K).unwrap().content == only_g));
    // The other region leaves it to its owner until the grace period is over.
    assert_eq!(cluster.replicas[1].sweep(Some("k"), 20_000).fields, 0);
    assert_eq!(cluster.replicas[0].sweep(None, 20_000).fields, 1);
    cluster.settle();
    run(&mut cluster, 0, &[Write::SetFieldLife { key: K, field: "g", life: NewLife::For(5001) }]);
    cluster.settle();
    cluster.replicas.iter_mut().for_each(|replica| replica.now = NOW + 40_000);
    assert!(cluster.replicas.iter_mut().all(|replica| replica.shown(K).is_none() && replica.len(0) == 1));
    assert_eq!(cluster.replicas[1].sweep(Some("k"), 20_000).fields, 1);
    cluster.settle();
    assert!(
        cluster.replicas.iter_mut().all(|replica| replica.len(0) == 0 && replica.digests().iter().all(|d| *d == 0))
    );
}

#[test]
fn an_expired_field_stands_if_it_was_written_meanwhile() {
    for (write, expected) in
        [(hset("f", "2"), Some("2")), (hincr("f", 3), None), (HPERSIST, None), (hexpire(90_001), None)]
    {
        let replicas = (0..2).map(|index| System::new(index, NOW)).collect();
        let mut cluster = Cluster::new(replicas, slots().len());
        run(&mut cluster, 0, &[hset("f", "1"), hset("g", "2"), hexpire(5001)]);
        cluster.settle();
        run(&mut cluster, 1, &[write]);
        cluster.replicas[0].now = NOW + 10_000;
        assert_eq!(cluster.replicas[0].sweep(None, 0).fields, 1);
        cluster.settle();
        cluster.replicas[1].now = NOW + 10_000;
        for replica in &mut cluster.replicas {
            let Some(Shown { content: Content::Hash(fields), .. }) = replica.shown(K) else { panic!("a hash") };
            // An assertion alone brings nothing back, and an increment has carried the old end with it.
            assert_eq!(fields.get("f").map(String::as_str), expected, "{write:?}");
        }
    }
}

#[test]
fn an_expired_key_stands_if_it_was_written_meanwhile() {
    // The first region removes the key when its life is over; the second wrote to it before.
    for write in [sadd("g"), PERSIST, expire(90_001)] {
        let replicas = (0..2).map(|index| System::new(index, NOW)).collect();
        let mut cluster = Cluster::new(replicas, slots().len());
        run(&mut cluster, 0, &[sadd("f"), expire(5001)]);
        cluster.settle();
        run(&mut cluster, 1, &[write]);
        cluster.replicas[0].now = NOW + 10_000;
        assert_eq!(cluster.replicas[0].sweep(None, 0).expired, 1);
        cluster.settle();
        cluster.replicas[1].now = NOW + 10_000;
        let shown: Vec<_> = cluster.replicas.iter_mut().map(|replica| replica.shown(K)).collect();
        assert_eq!(shown[0], shown[1]);
        // An assertion alone does not bring back what the expiry removed; a new member carried the old life with it.
        assert_eq!(shown[0], None, "{write:?}");
    }
}

#[test]
fn types() {
    later(&[], &[set("x")], &[sadd("f")], "x", "f");
    later(&[set("x")], &[set("y")], &[DEL, hset("f", "1")], "y", "f=1");
    // The next write drops the type that lost.
    let replicas = (0..2).map(|index| System::new(index, NOW + 100 * index as u64)).collect();
    let mut cluster = Cluster::new(replicas, slots().len());
    run(&mut cluster, 0, &[set("x")]);
    run(&mut cluster, 1, &[sadd("f")]);
    cluster.settle();
    run(&mut cluster, 0, &[sadd("g"), DEL]);
    cluster.settle();
    assert!(cluster.replicas.iter_mut().all(|replica| replica.shown(K).is_none()));
}

#[test]
fn keys_and_databases() {
    let rename = [Write::Copy { source: K, target: OTHER }, DEL];
    let row = Row { before: vec![hset("f", "1")], first: rename.to_vec(), second: vec![hset("g", "2")] };
    assert_eq!(row.shown(OTHER).unwrap().content, Content::Hash([("f".into(), "1".into())].into()));
    assert_eq!(row.shown(K).unwrap().content, Content::Hash([("g".into(), "2".into())].into()));
    for clear in [FLUSHDB, FLUSHALL] {
        always(&[set("x")], &[clear], &[set("y")], Some("y"));
        always(&[incr(5)], &[clear], &[incr(2)], Some("2"));
        always(&[hset("f", "1"), hincr("g", 4)], &[clear], &[hincr("g", 2)], Some("g=2"));
        always(&[hset("f", "1"), sadd("f")], &[clear], &[DEL], None);
    }
}

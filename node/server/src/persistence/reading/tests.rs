//! Loading in rounds: what is served when, and what becomes of damage that is found on the way.

use super::*;
use crate::persistence::Walk;
use crate::persistence::recovery::{Recovery, Scanned, encode_tails, scan};
use crate::testing::{Caller, STARTED_AT, node};
use keyspace::{Database, Drain, Lifetime, NewLifetime};
use protocol::{Batch, BatchTail, Compression};
use storage::{
    CheckpointStart, CheckpointWriter, FoundStore, Fs, JournalSettings, Life, Record, SimulatedFs, StoreOwner,
};

const OWNER: StoreOwner = StoreOwner { cluster: [1; 16], identity: [2; 32] };
const LIFE: Life = Life { generation: 1, nonce: 1 };
const KEYS: u32 = 3_000;

fn key(number: u32) -> Vec<u8> {
    format!("key:{number}").into_bytes()
}

/// What a node leaves that wrote all keys, took a checkpoint, and wrote every third key again.
fn written() -> (SimulatedFs, Arc<Keyspace>) {
    let fs = SimulatedFs::new(3);
    let shared: Arc<dyn storage::Fs> = Arc::new(fs.clone());
    let found = FoundStore::open(Arc::clone(&shared), OWNER).unwrap();
    let mut store = found.begin(LIFE, JournalSettings::default(), 0).unwrap();
    let keyspace = Keyspace::new(5);
    keyspace.set_number(NodeNumber::new(1).unwrap());
    let (mut writer, mut drain) = (keyspace.writer(), Drain::default());
    let (mut tail, mut position) = (BatchTail::default(), 0);
    let mut write = |numbers: &mut dyn Iterator<Item = u32>, value: &[u8]| {
        for number in numbers {
            let mut access = writer.access(STARTED_AT, &[&key(number)]);
            access.put_string(Database(0), &key(number), value, NewLifetime::Set(Lifetime::Never));
        }
        for open in drain.take(&keyspace) {
            let dependencies = VersionVector::new();
            let batch = Batch::seal(
                tail,
                open.first,
                open.last,
                dependencies,
                open.changes,
                &open.payload,
                &mut Compression::default(),
            );
            tail = batch.tail();
            let (previous, last, bytes) = (batch.previous.last, batch.last, batch.bytes().clone());
            position = store.journal.append(&Record::Batch { previous, last, bytes }, STARTED_AT).unwrap() + 1;
        }
        store.journal.write(STARTED_AT).unwrap();
        (tail, store.journal.next())
    };
    let (tail, next) = write(&mut (0..KEYS), b"first");
    let vector: VersionVector = [(tail.last.author(), tail.last)].into_iter().collect();
    let start = CheckpointStart { position: next, vector: vector.clone() };
    let mut walk =
        Walk::new(1, CheckpointWriter::begin(Arc::clone(&shared), OWNER, None, start), keyspace.clock(), None);
    while walk.step(&keyspace).unwrap() {}
    let notes = encode_tails(&[(tail.last.author(), tail)].into_iter().collect());
    walk.commit(vector, notes, u64::from(KEYS), STARTED_AT).unwrap();
    write(&mut (0..KEYS).step_by(3), b"second");
    (fs, keyspace)
}

fn scanned(fs: &SimulatedFs, node: &Arc<Node>) -> Scanned {
    let found = FoundStore::open(Arc::new(fs.clone()), OWNER).unwrap();
    let config = node.config.load();
    let with = Recovery {
        keyspace: &node.keyspace,
        durability: &node.durability,
        config: &config,
        threads: None,
        now: STARTED_AT,
        beat: &|| Ok(()),
    };
    scan(found, Life { generation: 2, nonce: 2 }, &with).unwrap()
}

fn group_of_key(number: u32) -> u16 {
    group_of(keyspace::slot_of(&key(number)))
}

fn digests(keyspace: &Keyspace) -> Vec<u64> {
    (0..keyspace::SLOTS).map(|slot| keyspace.digest_of(slot).digest).collect()
}

/// The key of a later round than the others: nobody would read its group early.
fn last_key() -> u32 {
    (0..KEYS).max_by_key(|&number| group_of_key(number)).unwrap()
}

#[test]
fn keys_are_served_round_by_round_and_those_that_are_asked_for_first() {
    let (fs, before) = written();
    let node = Arc::new(node());
    let scanned = scanned(&fs, &node);
    assert!(scanned.is_whole);
    let mut client = Caller::new(&node);
    node.condition.set_loading(true);
    let mut reading = Reading::begin(scanned.loader, &node, true, Arc::new(|| ())).unwrap();
    let late = format!("get key:{}", last_key());
    let loading = "-LOADING Redis is loading the dataset in memory\r\n";
    assert_eq!(client.call(&late), loading);
    assert!(reading.poll().is_none());
    let value = if last_key().is_multiple_of(3) { "$6\r\nsecond\r\n" } else { "$5\r\nfirst\r\n" };
    assert_eq!(client.call(&late), value, "what was asked for comes first");
    assert_eq!(client.call("dbsize"), loading, "nobody knows yet how many there are");
    // A group that nobody asked for and that is not in the first rounds.
    let other = (0..KEYS).find(|&number| group_of_key(number) == GROUPS - 20).unwrap();
    assert_eq!(client.call(&format!("mget key:{} key:{other}", last_key())), loading);
    let mut rounds = 1;
    let loaded = loop {
        rounds += 1;
        match reading.poll() {
            Some(outcome) => break outcome.unwrap(),
            None => assert!(client.call(&format!("get key:{other}")).starts_with('$'), "it was asked for as well"),
        }
    };
    assert_eq!(rounds, usize::from(GROUPS) / ROUND_GROUPS_IN_PLACE);
    assert!(!loaded.has_less());
    assert_eq!(digests(&node.keyspace), digests(&before));
    assert_eq!(node.keyspace.len(0), u64::from(KEYS));
    // The next checkpoint need not write what is as its image.
    let changed: BTreeSet<u16> = (0..KEYS).step_by(3).map(group_of_key).collect();
    let all: BTreeSet<u16> = (0..GROUPS).collect();
    assert!(changed.iter().all(|&group| node.keyspace.has_changed_since(&slots_of(group), scanned.unchanged)));
    assert!(
        all.difference(&changed).all(|&group| !node.keyspace.has_changed_since(&slots_of(group), scanned.unchanged))
    );
}

/// The journal is as large as the images: reading it for each few groups would take for ever, and reading everything in one
/// round would let nobody read a key before the end.
#[test]
fn behind_a_large_journal_the_first_keys_and_those_that_are_asked_for_come_soon_and_the_rest_in_one_round() {
    let (fs, before) = written();
    let node = Arc::new(node());
    let mut loader = scanned(&fs, &node).loader;
    loader.source.threads = Some(2);
    loader.source.journal_bytes = loader.source.images.values().map(|facts| facts.bytes).sum();
    let mut round = |wanted: &[u16]| {
        let wanted: BTreeSet<u16> = wanted.iter().copied().collect();
        loader.round(&wanted, STARTED_AT, &|_| Ok(())).unwrap()
    };
    assert_eq!(round(&[]).len(), ROUND_GROUPS_MIN);
    // What was asked for is among them, however many rounds have been small, until there were enough of them.
    for asked in 0..u16::try_from(SMALL_ROUNDS_MAX - 1).unwrap() {
        let groups = round(&[GROUPS - 1 - asked]);
        assert!(groups.contains(&(GROUPS - 1 - asked)) && groups.len() == ROUND_GROUPS_MIN, "{groups:?}");
    }
    assert_eq!(round(&[100]).len(), usize::from(GROUPS) - SMALL_ROUNDS_MAX * ROUND_GROUPS_MIN);
    assert!(round(&[]).is_empty());
    assert_eq!(digests(&node.keyspace), digests(&before));
}

/// Under ordinary traffic that is so from the first moment on.
#[test]
fn when_everything_is_asked_for_the_first_rounds_are_small_all_the_same() {
    let (fs, before) = written();
    let node = Arc::new(node());
    let mut loader = scanned(&fs, &node).loader;
    loader.source.threads = Some(2);
    loader.source.journal_bytes = loader.source.images.values().map(|facts| facts.bytes).sum();
    let mut round = |wanted: &BTreeSet<u16>| loader.round(wanted, STARTED_AT, &|_| Ok(())).unwrap();
    let (none, late) = (BTreeSet::new(), (100..GROUPS).collect::<BTreeSet<u16>>());
    assert_eq!(round(&none).len(), ROUND_GROUPS_MIN);
    // Everything at once, and then nothing new: what was asked for is still what comes first.
    let small: Vec<Vec<u16>> = (1..SMALL_ROUNDS_MAX).map(|at| round(if at == 1 { &late } else { &none })).collect();
    for groups in &small {
        assert!(groups.len() == ROUND_GROUPS_MIN && groups.iter().all(|&group| group >= 100), "{groups:?}");
    }
    assert_eq!(round(&none).len(), usize::from(GROUPS) - SMALL_ROUNDS_MAX * ROUND_GROUPS_MIN);
    assert_eq!(digests(&node.keyspace), digests(&before));
}

#[test]
fn a_client_that_rather_waits_gets_its_reply_when_the_key_is_there() {
    let (fs, _) = written();
    let node = Arc::new(node());
    node.config.set(&[("loading-replies", "wait")]).unwrap();
    let scanned = scanned(&fs, &node);
    node.condition.set_loading(true);
    let mut reading = Reading::begin(scanned.loader, &node, true, Arc::new(|| ())).unwrap();
    let mut client = Caller::new(&node);
    let late = [b"get".to_vec(), key(last_key())];
    let words: Vec<&[u8]> = late.iter().map(Vec::as_slice).collect();
    assert!(client.waits(&words));
    assert!(reading.poll().is_none());
    assert!(!client.waits(&words));
    assert!(client.waits(&[b"dbsize"]));
}

#[test]
fn what_is_lost_is_not_served_as_if_it_had_never_been() {
    let (fs, _) = written();
    let damaged = group_of_key(1);
    assert!(fs.flip(&storage::image_name(1, damaged), 8 * 90));
    let node = Arc::new(node());
    let scanned = scanned(&fs, &node);
    let mut client = Caller::new(&node);
    node.condition.set_loading(true);
    let mut reading = Reading::begin(scanned.loader, &node, true, Arc::new(|| ())).unwrap();
    let whole = (0..KEYS).find(|&number| group_of_key(number) == damaged - 1).unwrap();
    let mut answers = Vec::new();
    while reading.poll().is_none() {
        answers.push(client.call("get key:1"));
    }
    assert!(answers.iter().all(|answer| answer.starts_with("-LOADING")), "{answers:?}");
    assert!(client.call(&format!("get key:{whole}")).starts_with('$'));
}

#[test]
fn an_image_that_is_damaged_is_lost_alone_and_moved_aside() {
    let (fs, before) = written();
    let damaged = group_of_key(1);
    let name = fs
        .list()
        .unwrap()
        .into_iter()
        .map(|file| file.name)
        .find(|name| name.starts_with("image-") && name.ends_with(&format!("{damaged:03}")));
    let name = name.unwrap();
    assert!(fs.flip(&name, 8 * 90));
    let node = Arc::new(node());
    let scanned = scanned(&fs, &node);
    assert!(scanned.is_whole, "images are not looked at before they are read");
    let loaded = scanned.loader.load_all(STARTED_AT, &|_| Ok(())).unwrap();
    assert_eq!(loaded.lost.keys().copied().collect::<Vec<u16>>(), [damaged]);
    assert!(loaded.has_less());
    let files: Vec<String> = fs.list().unwrap().into_iter().map(|file| file.name).collect();
    assert!(files.contains(&format!("{name}.damaged")) && !files.contains(&name), "{files:?}");
    for (slot, (now, then)) in digests(&node.keyspace).into_iter().zip(digests(&before)).enumerate() {
        let slot = u16::try_from(slot).unwrap();
        assert!(now == then || group_of(slot) == damaged, "slot {slot}");
    }
    // What is whole says so of itself; of the damaged group nothing is claimed.
    loaded.forget_applied(&node.keyspace);
    assert!(node.keyspace.applied().is_empty());
    let known = |number: u32| node.keyspace.ahead_of(keyspace::slot_of(&key(number)));
    assert!(known(1).is_none_or(|vector| vector.is_empty()));
    // It holds what the journal had, which the vector does not say: it is no slot to compare with another node's, and
    // whoever seals the numbers that are in it must know how far they go.
    let lost = keyspace::slot_of(&key(1));
    assert!(node.keyspace.is_in_part(lost) && !node.keyspace.digest_of(lost).settled);
    assert!(node.keyspace.known_in_part().covers_all(&scanned.vector));
    let whole = (0..KEYS).find(|&number| group_of_key(number) != damaged).unwrap();
    assert!(known(whole).is_some_and(|vector| vector.of(NodeNumber::new(1).unwrap()) > Stamp::ZERO));
}

#[test]
fn a_checkpoint_says_which_slots_have_lost_something_and_so_does_the_next_start() {
    let (fs, _) = written();
    let damaged = group_of_key(1);
    assert!(fs.flip(&storage::image_name(1, damaged), 8 * 90));
    let node = Arc::new(self::node());
    let first = scanned(&fs, &node);
    first.loader.load_all(STARTED_AT, &|_| Ok(())).unwrap().forget_applied(&node.keyspace);
    let known = node.keyspace.known_in_part();
    assert!(!known.is_empty());
    // The node takes a checkpoint, and crashes before its peers have brought what it lost.
    let shared: Arc<dyn Fs> = Arc::new(fs.clone());
    let start = CheckpointStart { position: first.store.journal.next(), vector: VersionVector::new() };
    let writer = CheckpointWriter::begin(Arc::clone(&shared), OWNER, first.store.manifest.as_ref(), start);
    let mut walk = Walk::new(1, writer, node.keyspace.clock(), None);
    while walk.step(&node.keyspace).unwrap() {}
    walk.commit(VersionVector::new(), encode_tails(&BTreeMap::new()), u64::from(KEYS), STARTED_AT).unwrap();
    let checked = storage::check(shared, None).unwrap();
    assert!(!checked.problems.iter().any(storage::Problem::is_damage), "{:?}", checked.problems);

    let again = Arc::new(self::node());
    let second = scanned(&fs, &again);
    assert!(!second.loader.load_all(STARTED_AT, &|_| Ok(())).unwrap().has_less());
    for slot in 0..keyspace::SLOTS {
        assert_eq!(again.keyspace.is_in_part(slot), group_of(slot) == damaged, "slot {slot}");
    }
    assert!(again.keyspace.known_in_part().covers_all(&known));
    assert_eq!(digests(&again.keyspace), digests(&node.keyspace));
    // Once the vector has come as far again they are like all others.
    again.keyspace.raise_applied(&known);
    assert!((0..keyspace::SLOTS).all(|slot| !again.keyspace.is_in_part(slot)));
}

//! What threads do to each other that serve, end and leave; the scenes of clients are in `connection::tests::waiting`.

use super::*;
use crate::condition::Paused;
use crate::testing::{STARTED_AT, node};
use keyspace::End;
use std::task::Wake;
use std::thread::yield_now;

const DATABASE: Database = Database(0);
/// How often another thread is let go on to do what it must not do.
const TURNS: usize = 10_000;

/// Waits for a list and pops from it, after `before` has been done.
fn waiter(client: u64, key: &[u8], before: impl Fn() -> bool + Send + Sync + 'static) -> Arc<Waiter> {
    Arc::new(Waiter {
        client,
        database: DATABASE,
        keys: vec![key.into()],
        also: None,
        kind: Kind::List,
        version: Version::Resp2,
        serve: Box::new(move |access, database, key, _| {
            Ok(before() && access.pop(database, key, End::Head, 1, &mut |_| ())?.is_some())
        }),
        if_gone: None,
        outcome: Mutex::default(),
        is_called: AtomicBool::new(false),
        waker: Mutex::default(),
    })
}

fn enter(node: &Node, waiter: &Arc<Waiter>) {
    let keys: Vec<&[u8]> = waiter.keys.iter().map(|key| &**key).collect();
    node.blocking.enter(waiter, &mut node.keyspace.writer().access(STARTED_AT, &keys)).unwrap();
}

fn push(node: &Node, key: &[u8], element: &[u8]) {
    let mut writer = node.keyspace.writer();
    let mut access = writer.access(STARTED_AT, &[key]);
    access.begin_command();
    access.push(DATABASE, key, End::Tail, [element]).unwrap();
}

fn length(node: &Node, key: &[u8]) -> usize {
    node.keyspace.writer().access(STARTED_AT, &[key]).list(DATABASE, key).unwrap().map_or(0, |list| list.len())
}

#[test]
fn nobody_waits_for_a_slot_with_the_turn_to_serve() {
    let node = node();
    let (waiting, other) = (waiter(1, b"q", || true), waiter(2, b"p", || true));
    enter(&node, &waiting);
    enter(&node, &other);
    push(&node, b"q", b"a");
    // As a script that runs on another thread, and has not run for long yet: whoever waited for it would wait here for ever.
    let mut writer = node.keyspace.writer();
    let access = writer.access(STARTED_AT, &[b"q"]);
    node.blocking.serve(&node, &mut node.keyspace.writer(), STARTED_AT);
    assert!(!node.blocking.is_ready(), "commands have nothing to look for");
    assert!(waiting.is_called(Waker::noop()), "it is to look again");
    for _ in 0..2 {
        let until = node.blocking.serve_again(&node, &mut node.keyspace.writer(), STARTED_AT);
        assert_eq!((until, waiting.is_called(Waker::noop())), (Some(STARTED_AT + PUT_OFF_LOOK_MS), false));
    }
    // Others are served, and leave.
    push(&node, b"p", b"b");
    node.blocking.serve(&node, &mut node.keyspace.writer(), STARTED_AT);
    assert!(matches!(other.outcome(), Some(Outcome::Served { .. })), "{:?}", other.outcome());
    node.blocking.leave(&node, &other);
    assert!(waiting.is_called(Waker::noop()), "who leaves may be the one who would have looked again");
    // So does the one who waits for it; the key tells on until somebody has its slot.
    assert!(node.blocking.unblock(1, false));
    node.blocking.leave(&node, &waiting);
    assert_eq!((node.blocking.count(), node.blocking.room.inner.lock().left.len()), (0, 1));
    drop(access);
    assert_eq!((waiting.outcome(), length(&node, b"q")), (Some(Outcome::Nothing), 1));
    enter(&node, &other);
    node.blocking.leave(&node, &other);
    let inner = node.blocking.room.inner.lock();
    assert!(inner.queues.is_empty() && inner.put_off.is_empty() && inner.left.is_empty(), "{inner:?}");
}

#[test]
fn a_key_that_was_put_off_is_served_also_if_nothing_may_be_served_meanwhile() {
    let node = Arc::new(node());
    let pauses = {
        let node = Arc::clone(&node);
        move || {
            node.condition.pause(Paused::Writes, UnixMillis::MAX);
            true
        }
    };
    let [first, last] = [(1, b"held"), (3, b"last")].map(|(client, key)| waiter(client, key, || true));
    let middle = waiter(2, b"free", pauses);
    [&first, &middle, &last].into_iter().for_each(|waiter| enter(&node, waiter));
    let keys: [&[u8]; 3] = [b"held", b"free", b"last"];
    keys.into_iter().for_each(|key| push(&node, key, b"a"));
    let mut script = node.keyspace.writer();
    let access = script.access(STARTED_AT, &[b"held"]);
    // It is found to run for long between two keys.
    node.keyspace.set_busy(true);
    let until = node.blocking.serve_again(&node, &mut node.keyspace.writer(), STARTED_AT);
    assert_eq!((until, node.blocking.is_ready()), (Some(UnixMillis::MAX), true));
    drop(access);
    node.keyspace.set_busy(false);
    node.condition.end_pause();
    assert_eq!(node.blocking.serve_again(&node, &mut node.keyspace.writer(), STARTED_AT), None);
    for waiter in [&first, &middle, &last] {
        assert!(matches!(waiter.outcome(), Some(Outcome::Served { .. })), "{waiter:?}: {:?}", waiter.outcome());
        node.blocking.leave(&node, waiter);
    }
}

#[test]
fn a_key_that_was_put_off_and_changes_again_is_ready() {
    let node = node();
    let waiting = waiter(1, b"q", || true);
    enter(&node, &waiting);
    push(&node, b"q", b"a");
    {
        let mut writer = node.keyspace.writer();
        let _access = writer.access(STARTED_AT, &[b"q"]);
        node.blocking.serve(&node, &mut node.keyspace.writer(), STARTED_AT);
    }
    assert!(!node.blocking.is_ready());
    push(&node, b"q", b"b");
    // Before the next command of whoever pushed it.
    node.blocking.serve(&node, &mut node.keyspace.writer(), STARTED_AT);
    assert_eq!((waiting.outcome().is_some(), length(&node, b"q")), (true, 1));
    node.blocking.leave(&node, &waiting);
}

#[test]
fn nobody_is_passed_over_when_another_leaves_meanwhile() {
    let node = Arc::new(node());
    let leaver: Arc<Mutex<Option<std::thread::JoinHandle<()>>>> = Arc::default();
    let first = Arc::new_cyclic(|this: &std::sync::Weak<Waiter>| {
        let (this, its_node, leaver) = (this.clone(), Arc::clone(&node), Arc::clone(&leaver));
        let leaves = move || {
            let (this, node) = (this.upgrade().unwrap(), Arc::clone(&its_node));
            let before = node.blocking.count();
            let other = Arc::clone(&node);
            *leaver.lock() = Some(std::thread::spawn(move || other.blocking.leave(&other, &this)));
            for _ in 0..TURNS {
                if node.blocking.count() < before {
                    break;
                }
                yield_now();
            }
            false
        };
        Arc::into_inner(waiter(1, b"q", leaves)).unwrap()
    });
    let second = waiter(2, b"q", || true);
    enter(&node, &first);
    enter(&node, &second);
    push(&node, b"q", b"a");
    assert_eq!(node.blocking.serve_again(&node, &mut node.keyspace.writer(), STARTED_AT), None);
    assert!(matches!(second.outcome(), Some(Outcome::Served { .. })), "{:?}", second.outcome());
    let leaver = leaver.lock().take().unwrap();
    leaver.join().unwrap();
    node.blocking.leave(&node, &second);
    assert_eq!(node.blocking.count(), 0);
}

/// Notes whether there was something to do when it woke.
struct Sleeper {
    node: Arc<Node>,
    found: AtomicUsize,
}

impl Wake for Sleeper {
    fn wake(self: Arc<Self>) {
        self.found.fetch_add(usize::from(self.node.blocking.is_ready()), Ordering::Relaxed);
    }
}

#[test]
fn who_is_called_for_a_change_finds_it() {
    let node = Arc::new(node());
    let waiting = waiter(1, b"q", || true);
    enter(&node, &waiting);
    let sleeper = Arc::new(Sleeper { node: Arc::clone(&node), found: AtomicUsize::new(0) });
    assert!(!waiting.is_called(&Arc::clone(&sleeper).into()));
    push(&node, b"q", b"a");
    assert_eq!(sleeper.found.load(Ordering::Relaxed), 1);
    node.blocking.leave(&node, &waiting);
}

#[test]
fn a_key_that_changes_often_is_looked_at_once() {
    let node = node();
    let key_of = |number: usize| format!("q{number}").into_bytes();
    let waiting: Vec<_> = (0..100).map(|number| waiter(number as u64, &key_of(number), || false)).collect();
    waiting.iter().for_each(|waiter| enter(&node, waiter));
    for _ in 0..3 {
        (0..100).for_each(|number| push(&node, &key_of(number), b"a"));
    }
    // Also one whose clients have left, and come back.
    node.blocking.leave(&node, &waiting[0]);
    let again = waiter(0, &key_of(0), || false);
    enter(&node, &again);
    push(&node, &key_of(0), b"a");
    assert_eq!(node.blocking.room.inner.lock().ready.len(), 100);
    node.blocking.leave(&node, &again);
    waiting[1..].iter().for_each(|waiter| node.blocking.leave(&node, waiter));
    assert_eq!(node.blocking.serve_again(&node, &mut node.keyspace.writer(), STARTED_AT), None);
    let inner = node.blocking.room.inner.lock();
    assert!(inner.queues.is_empty() && inner.ready.is_empty() && inner.bytes == 0, "{inner:?}");
}

#[test]
fn long_keys_are_waited_for_by_few() {
    let node = node();
    let long = waiter(1, &vec![0; AWAITED_BYTES_MAX / 3], || true);
    let refusal = node.blocking.enter(&long, &mut node.keyspace.writer().access(STARTED_AT, &[]));
    assert!(matches!(refusal, Err(CommandError::Plain("ERR too many keys are waited for"))));
    assert_eq!((node.blocking.count(), node.blocking.refused()), (0, 1));
}

#[test]
fn timeouts_are_read_as_redis_reads_them() {
    let seconds = |text: &str| timeout(text.as_bytes()).ok();
    assert_eq!(seconds("0"), Some(None));
    assert_eq!(seconds("1.5"), Some(Some(Duration::from_millis(1500))));
    assert_eq!(seconds("0x1p-7"), Some(Some(Duration::from_millis(8))));
    assert_eq!((seconds("0x"), seconds("-1"), seconds(" 1")), (None, None, None));
}

#[test]
fn leaving_and_serving_do_not_wait_for_a_script_that_was_put_aside() {
    let node = node();
    let (leaver, stayer) = (waiter(1, b"q", || true), waiter(2, b"p", || true));
    enter(&node, &leaver);
    enter(&node, &stayer);
    push(&node, b"p", b"a");
    // On this very thread, which would wait for itself.
    let mut script = node.keyspace.writer();
    let access = script.access(STARTED_AT, &[b"p", b"q"]);
    node.keyspace.set_busy(true);
    node.blocking.leave(&node, &leaver);
    assert!(
        node.blocking.serve_again(&node, &mut node.keyspace.writer(), STARTED_AT).is_some(),
        "it is to be done later"
    );
    assert_eq!((node.blocking.count(), stayer.outcome()), (1, None));
    node.blocking.tidy(&node.keyspace);
    assert_eq!(node.blocking.room.inner.lock().left.len(), 1, "it is still held");
    drop(access);
    node.keyspace.set_busy(false);
    node.blocking.tidy(&node.keyspace);
    assert!(node.blocking.room.inner.lock().left.is_empty());
    assert_eq!(node.blocking.serve_again(&node, &mut node.keyspace.writer(), STARTED_AT), None);
    assert!(matches!(stayer.outcome(), Some(Outcome::Served { .. })), "{:?}", stayer.outcome());
    node.blocking.leave(&node, &stayer);
}

//! What threads do to each other that serve, end and leave; the scenes of clients are in `connection::tests::waiting`.

use super::*;
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
fn waiting_can_be_ended_while_the_one_who_serves_waits_for_the_slot() {
    let node = node();
    let waiting = waiter(1, b"q", || true);
    enter(&node, &waiting);
    push(&node, b"q", b"a");
    std::thread::scope(|scope| {
        // As a transaction that names the key and holds `CLIENT UNBLOCK`.
        let mut writer = node.keyspace.writer();
        let access = writer.access(STARTED_AT, &[b"q"]);
        scope.spawn(|| node.blocking.serve(&node, &mut node.keyspace.writer(), STARTED_AT));
        while node.blocking.is_ready() {
            yield_now();
        }
        for _ in 0..TURNS {
            assert!(waiting.outcome.try_lock().is_some(), "whoever serves holds what it must not");
            yield_now();
        }
        assert!(node.blocking.unblock(1, false));
        drop(access);
    });
    assert_eq!((waiting.outcome(), length(&node, b"q")), (Some(Outcome::Nothing), 1));
    node.blocking.leave(&node, &waiting);
    assert_eq!(node.blocking.count(), 0);
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
    assert_eq!(node.blocking.serve(&node, &mut node.keyspace.writer(), STARTED_AT), None);
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
    assert_eq!(node.blocking.serve(&node, &mut node.keyspace.writer(), STARTED_AT), None);
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
    assert!(node.blocking.serve(&node, &mut node.keyspace.writer(), STARTED_AT).is_some(), "it is to be done later");
    assert_eq!((node.blocking.count(), stayer.outcome()), (1, None));
    node.blocking.tidy(&node.keyspace);
    assert_eq!(node.blocking.room.inner.lock().left.len(), 1, "it is still held");
    drop(access);
    node.keyspace.set_busy(false);
    node.blocking.tidy(&node.keyspace);
    assert!(node.blocking.room.inner.lock().left.is_empty());
    assert_eq!(node.blocking.serve(&node, &mut node.keyspace.writer(), STARTED_AT), None);
    assert!(matches!(stayer.outcome(), Some(Outcome::Served { .. })), "{:?}", stayer.outcome());
    node.blocking.leave(&node, &stayer);
}

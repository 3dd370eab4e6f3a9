use super::*;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

fn number(value: u16) -> NodeNumber {
    NodeNumber::new(value).unwrap()
}

fn stamp(ms: u64, author: u16) -> Stamp {
    Stamp::at(1_700_000_000_000 + ms, number(author))
}

fn vector(stamps: &[Stamp]) -> VersionVector {
    stamps.iter().map(|stamp| (stamp.author(), *stamp)).collect()
}

async fn outcome(entered: &mut Entered<'_>) -> Option<Outcome> {
    std::future::poll_fn(|context| {
        Poll::Ready(match entered.poll(context) {
            Poll::Ready(outcome) => Some(outcome),
            Poll::Pending => None,
        })
    })
    .await
}

#[tokio::test]
async fn a_region_has_a_write_once_any_of_its_nodes_has_and_counts_once() {
    let arrivals = Arrivals::default();
    let (old, new) = (vector(&[stamp(5, 1)]), vector(&[stamp(9, 1)]));
    let members = [("eu", Some(&old)), ("eu", Some(&new)), ("asia", Some(&old)), ("africa", None)];
    arrivals.note_members(members.into_iter(), Some(number(1)), std::iter::empty());
    assert_eq!(arrivals.regions_with(Stamp::ZERO), 2);
    assert_eq!(arrivals.regions_with(stamp(5, 1)), 2);
    assert_eq!(arrivals.regions_with(stamp(6, 1)), 1);
    assert_eq!(arrivals.regions_with(stamp(10, 1)), 0);
    assert_eq!(arrivals.regions_with(stamp(1, 2)), 0);
    arrivals.note_applied("asia", &vector(&[stamp(10, 1)]));
    assert_eq!(arrivals.regions_with(stamp(10, 1)), 1);
}

#[tokio::test]
async fn who_waits_is_answered_when_enough_has_arrived_and_the_peers_are_told_to_hurry() {
    let arrivals = Arrivals::default();
    let woken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&woken);
    arrivals.begin(ClusterId([1; 16]), move || {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let written = stamp(5, 1);
    let mut one = arrivals.enter(1, Wanted::Regions { written, count: 1 });
    let mut two = arrivals.enter(2, Wanted::Regions { written, count: 2 });
    assert_eq!((woken.load(Ordering::Relaxed), arrivals.count()), (2, 2));
    assert!(arrivals.take_asked() && !arrivals.take_asked());
    let nothing = VersionVector::new();
    let here = Here { applied: &nothing, closed_up_to: Stamp::ZERO };
    assert!(!arrivals.serve(&here, VersionVector::new));
    assert_eq!((outcome(&mut one).await, outcome(&mut two).await), (None, None));
    arrivals.note_applied("eu", &vector(&[written]));
    arrivals.serve(&here, VersionVector::new);
    assert_eq!((outcome(&mut one).await, outcome(&mut two).await), (Some(Outcome::Arrived), None));
    assert!(arrivals.unblock(2, true) && !arrivals.unblock(2, true) && !arrivals.unblock(7, false));
    assert_eq!(outcome(&mut two).await, Some(Outcome::Unblocked { with_error: true }));
    drop((one, two));
    assert_eq!(arrivals.count(), 0);
}

#[tokio::test]
async fn what_is_later_than_a_seal_and_what_this_node_writes_itself_is_not_waited_for() {
    let arrivals = Arrivals::default();
    let seals = [(number(3), stamp(7, 3))];
    arrivals.note_members(std::iter::empty(), Some(number(1)), seals.into_iter());
    let applied = vector(&[stamp(5, 2), stamp(7, 3)]);
    let is_here = |stamps: &[Stamp]| arrivals.is_here(&vector(stamps), &applied);
    assert!(is_here(&[]) && is_here(&[stamp(5, 2)]) && !is_here(&[stamp(6, 2)]));
    assert!(is_here(&[stamp(99, 1), stamp(99, 3)]));
    assert!(!is_here(&[stamp(1, 4)]));
    let short = vector(&[stamp(6, 3)]);
    assert!(!arrivals.is_here(&vector(&[stamp(99, 3)]), &short));
}

#[tokio::test]
async fn a_token_waits_until_what_was_written_is_closed() {
    let arrivals = Arrivals::default();
    let mut first = arrivals.enter(1, Wanted::Closed(stamp(5, 1)));
    let mut second = arrivals.enter(2, Wanted::Closed(stamp(9, 1)));
    let (applied, seen) = (VersionVector::new(), vector(&[stamp(6, 1), stamp(3, 2)]));
    let here = Here { applied: &applied, closed_up_to: stamp(6, 1) };
    assert!(arrivals.serve(&here, || seen.clone()));
    assert_eq!((outcome(&mut first).await, outcome(&mut second).await), (Some(Outcome::Seen(seen)), None));
}

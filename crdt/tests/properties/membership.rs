//! The membership merges: commutative, associative, idempotent, and no number ever has two owners, whatever members do
//! at once. Members leave and come back under new identities all the time (as in the field, where removing a cluster and
//! adding it again lost keys).

use crate::random::{Random, check_script, for_seeds};
use crdt::membership::{
    Holding, MemberRecord, MemberState, Membership, MembershipAlarm, MembershipChange, MembershipError, NodeIdentity,
    Seal, Waiting,
};
use crdt::{NODE_NUMBERS_MAX, NodeNumber, STAMP_EPOCH_MS, Stamp};
use std::collections::BTreeMap;

mod numbers;

fn identity(index: usize) -> NodeIdentity {
    // Spread, so that the order of identities is not the order of admission.
    let word = Random::new(index as u64).word();
    let mut bytes = [index as u8; 32];
    bytes[..8].copy_from_slice(&word.to_be_bytes());
    NodeIdentity(bytes)
}

fn record(name: &str) -> MemberRecord {
    MemberRecord {
        name: name.into(),
        region: "eu-west".into(),
        advertise: format!("{name}.example:7379"),
        resp: format!("{name}.example:6379"),
        http: String::new(),
    }
}

fn number(value: u16) -> NodeNumber {
    NodeNumber::new(value).unwrap()
}

fn stamp(ms: u64, node: u16) -> Stamp {
    Stamp::at(STAMP_EPOCH_MS + ms, number(node))
}

/// One thing that happens at one of the nodes. Indices are taken modulo what there is, so that any sub-script runs.
#[derive(Clone, Debug)]
enum Step {
    Admit { at: usize, newcomer: usize, name: usize },
    Rename { at: usize, member: usize, name: usize },
    Remove { at: usize, member: usize },
    NextLife { at: usize },
    GiveNumber { at: usize, to: usize },
    GiveRange { at: usize, to: usize },
    HandOver { at: usize, to: usize },
    Report { at: usize, removed: usize },
    Seal { at: usize, number: u16 },
    Release { at: usize, number: u16 },
    Exchange { from: usize, to: usize },
}

const NODES: usize = 12;
const NAMES: usize = 5;

fn script(random: &mut Random) -> Vec<Step> {
    let length = random.between(5, 120);
    (0..length)
        .map(|_| {
            let (at, to) = random.pair(NODES);
            match random.weighted(&[20, 3, 6, 5, 4, 4, 4, 3, 2, 2, 40]) {
                0 => Step::Admit { at, newcomer: to, name: random.below(NAMES) },
                1 => Step::Rename { at, member: to, name: random.below(NAMES) },
                2 => Step::Remove { at, member: to },
                3 => Step::NextLife { at },
                4 => Step::GiveNumber { at, to },
                5 => Step::GiveRange { at, to },
                6 => Step::Report { at, removed: to },
                7 => Step::Seal { at, number: random.below(NODE_NUMBERS_MAX as usize) as u16 },
                8 => Step::Release { at, number: random.below(NODE_NUMBERS_MAX as usize) as u16 },
                9 => Step::HandOver { at, to },
                _ => Step::Exchange { from: at, to },
            }
        })
        .collect()
}

/// Nodes with what each of them knows. Node 0 founded the cluster; node `i` has identity `i`.
struct World {
    known: Vec<Membership>,
    clock: u64,
    /// Every number that any node ever saw spent, with its owner.
    owners: BTreeMap<NodeNumber, NodeIdentity>,
}

impl World {
    fn new() -> Self {
        let mut known = vec![Membership::new(); NODES];
        known[0] = Membership::found(identity(0), record("name-0"), stamp(1, 0)).unwrap();
        Self { known, clock: 1, owners: BTreeMap::new() }
    }

    fn stamp(&mut self, at: usize) -> Stamp {
        self.clock += 1;
        let own = self.known[at].view().numbers_of(identity(at)).last().map_or(0, |number| number.value());
        stamp(self.clock, own)
    }

    /// Takes a step and returns the nodes whose knowledge it may have changed.
    fn step(&mut self, step: &Step) -> [usize; 2] {
        match *step {
            Step::Admit { at, newcomer, name } => {
                let stamp = self.stamp(at);
                let name = format!("name-{name}");
                let admitted = self.known[at].admit(identity(at), identity(newcomer), record(&name), stamp);
                if admitted.is_ok() {
                    // A newcomer starts from what its admitter knows.
                    self.exchange(at, newcomer);
                }
                [at, newcomer]
            }
            Step::Rename { at, member, name } => {
                let stamp = self.stamp(at);
                let _refused = self.known[at].update(identity(member), record(&format!("name-{name}")), stamp);
                [at, at]
            }
            Step::Remove { at, member } => {
                let _refused = self.known[at].remove(identity(member));
                [at, at]
            }
            Step::NextLife { at } => {
                let stamp = self.stamp(at);
                let _refused = self.known[at].grant_number(identity(at), identity(at), stamp);
                [at, at]
            }
            Step::GiveNumber { at, to } => {
                let stamp = self.stamp(at);
                let _refused = self.known[at].grant_number(identity(at), identity(to), stamp);
                [at, at]
            }
            Step::GiveRange { at, to } => {
                let stamp = self.stamp(at);
                let _refused = self.known[at].grant_range(identity(at), identity(to), 16, stamp);
                [at, at]
            }
            Step::HandOver { at, to } => {
                let stamp = self.stamp(at);
                let _refused = self.known[at].hand_over(identity(at), identity(to), stamp);
                [at, at]
            }
            Step::Report { at, removed } => {
                let stamp = self.stamp(at);
                let numbers = self.known[at].view().numbers_of(identity(removed)).to_vec();
                // The last one is the one in use.
                for number in numbers.iter().take(numbers.len().saturating_sub(1)) {
                    let _refused = self.known[at].end_number(*number);
                }
                let holding = Holding { applied: stamp, reach: stamp, waiting: Waiting::Nothing };
                for number in numbers {
                    let _refused = self.known[at].report_holdings(identity(at), stamp, [(number, holding)]);
                }
                [at, at]
            }
            Step::Seal { at, number } => {
                let stamp = self.stamp(at);
                let _refused = self.known[at].seal(NodeNumber::new(number).unwrap(), stamp, stamp);
                [at, at]
            }
            Step::Release { at, number } => {
                let stamp = self.stamp(at);
                let _refused = self.known[at].release_drift(NodeNumber::new(number).unwrap(), stamp);
                [at, at]
            }
            Step::Exchange { from, to } => {
                self.exchange(from, to);
                [from, to]
            }
        }
    }

    fn exchange(&mut self, from: usize, to: usize) {
        let bytes = self.known[from].encode();
        let received = Membership::decode(&bytes).expect("what was encoded decodes");
        self.known[to].merge(&received);
    }

    /// What must hold at every moment, at these nodes.
    fn broken(&mut self, nodes: impl IntoIterator<Item = usize>) -> Option<String> {
        for known in nodes.into_iter().map(|node| &self.known[node]) {
            for (number, owner) in known.view().owners() {
                let first = *self.owners.entry(number).or_insert(owner);
                if first != owner {
                    return Some(format!("number {number} belongs to {first:?} and to {owner:?}"));
                }
            }
            for removed in known.view().removed() {
                if known.view().member(*removed).is_some() {
                    return Some(format!("{removed:?} is removed and a member"));
                }
            }
            let granted_twice = |alarm: &&MembershipAlarm| matches!(alarm, MembershipAlarm::NumberGrantedTwice { .. });
            if let Some(alarm) = known.view().alarms().iter().find(granted_twice) {
                return Some(format!("an alarm without a reason: {alarm:?}"));
            }
        }
        None
    }
}

fn run(script: &[Step]) -> (World, Option<String>) {
    let mut world = World::new();
    for step in script {
        let touched = world.step(step);
        if let Some(broken) = world.broken(touched) {
            return (world, Some(broken));
        }
    }
    (world, None)
}

fn merged(parts: &[&Membership]) -> Membership {
    let mut whole = Membership::new();
    for part in parts {
        whole.merge(part);
    }
    whole
}

/// Members of `known` as a test can compare them.
fn view_of(known: &Membership) -> String {
    let view = known.view();
    format!("{:?} {:?} {:?}", view.members(), view.alarms(), view.owners().collect::<Vec<_>>())
}

#[test]
fn no_number_ever_has_two_owners_and_all_members_agree_in_the_end() {
    for_seeds("no_number_ever", 100, |seed| {
        check_script(script(&mut Random::new(seed)), |script| {
            let (mut world, broken) = run(script);
            if broken.is_some() {
                return broken;
            }
            let mut order: Vec<usize> = (0..NODES).collect();
            Random::new(seed).shuffle(&mut order);
            for _ in 0..2 {
                for pair in order.windows(2) {
                    world.exchange(pair[0], pair[1]);
                    world.exchange(pair[1], pair[0]);
                }
                order.reverse();
            }
            let first = &world.known[0];
            let differs = world.known.iter().find(|known| {
                *known != first || known.stable_hash() != first.stable_hash() || view_of(known) != view_of(first)
            });
            differs.map(|other| format!("members differ: {first:?}\nand {other:?}")).or_else(|| world.broken(0..NODES))
        });
    });
}

#[test]
fn the_merge_is_commutative_associative_and_idempotent() {
    for_seeds("the_merge_is", 60, |seed| {
        let mut random = Random::new(seed);
        check_script(script(&mut random), |script| {
            let (world, _) = run(script);
            let known = &world.known;
            for [a, b, c] in [[0, 1, 2], [3, 4, 5], [6, 7, 8], [2, 9, 11], [10, 0, 5]] {
                let (a, b, c) = (&known[a], &known[b], &known[c]);
                let ab = merged(&[a, b]);
                if ab != merged(&[b, a]) {
                    return Some(format!("not commutative: {a:?} and {b:?}"));
                }
                if merged(&[&ab, c]) != merged(&[a, &merged(&[b, c])]) {
                    return Some(format!("not associative: {a:?} and {b:?} and {c:?}"));
                }
                let mut again = ab.clone();
                for part in [a, b, &ab] {
                    let outcome = again.merge(part);
                    if again != ab || outcome.changed || !outcome.changes.is_empty() || !outcome.alarms.is_empty() {
                        return Some(format!("not idempotent: {ab:?} and {part:?}: {outcome:?}"));
                    }
                }
            }
            None
        });
    });
}

#[test]
fn merges_agree_even_about_a_stamp_that_was_used_twice() {
    // Two live copies of one directory: equal stamps, different records. A bare register would keep its own on each side.
    let founded = Membership::found(identity(0), record("a"), stamp(1, 0)).unwrap();
    let (mut one, mut two) = (founded.clone(), founded);
    one.update(identity(0), record("b"), stamp(2, 0)).unwrap();
    two.update(identity(0), record("c"), stamp(2, 0)).unwrap();
    assert_eq!(merged(&[&one, &two]), merged(&[&two, &one]));
    assert_eq!(merged(&[&one, &two]).view().members(), merged(&[&two, &one]).view().members());
}

#[test]
fn two_members_that_admit_at_once_hand_out_different_numbers() {
    let mut one = Membership::found(identity(0), record("a"), stamp(1, 0)).unwrap();
    let grant = one.admit(identity(0), identity(1), record("b"), stamp(2, 0)).unwrap();
    let mut two = one.clone();
    let by_one = one.admit(identity(0), identity(2), record("c"), stamp(3, 0)).unwrap();
    let by_two = two.admit(identity(1), identity(3), record("d"), Stamp::at(STAMP_EPOCH_MS + 3, grant.number)).unwrap();
    assert_ne!(by_one.number, by_two.number);
    let outcome = one.merge(&two);
    assert!(outcome.changed && outcome.alarms.is_empty());
    assert_eq!(
        outcome.changes,
        [
            MembershipChange::Joined(identity(3)),
            MembershipChange::NumberSpent { number: by_two.number, owner: identity(3) }
        ]
    );
    assert_eq!(one.view().active().count(), 4);
}

#[test]
fn of_two_nodes_under_one_name_the_later_admission_is_refused_with_an_alarm() {
    let mut one = Membership::found(identity(0), record("a"), stamp(1, 0)).unwrap();
    one.admit(identity(0), identity(1), record("b"), stamp(2, 0)).unwrap();
    let mut two = one.clone();
    one.admit(identity(0), identity(2), record("same"), stamp(10, 0)).unwrap();
    two.admit(identity(1), identity(3), record("same"), stamp(9, 1)).unwrap();
    let alarm = MembershipAlarm::NameTaken { name: "same".into(), holder: identity(3), refused: identity(2) };
    let outcome = one.merge(&two);
    assert_eq!(outcome.alarms, std::slice::from_ref(&alarm));
    assert!(outcome.changes.contains(&MembershipChange::Left(identity(2))));
    assert_eq!(two.merge(&one).alarms, [alarm]);
    assert_eq!(two.view().member(identity(2)).unwrap().state, MemberState::NameRefused { holder: identity(3) });
    assert_eq!(two.view().named("same").unwrap().identity, identity(3));
    assert!(!two.is_active(identity(2)));
    // A refused node hands nothing out.
    let refused = two.admit(identity(2), identity(4), record("z"), stamp(11, 0));
    assert_eq!(refused, Err(MembershipError::NotAMember(identity(2))));
    // Renamed, it stands.
    two.update(identity(2), record("other"), stamp(12, 1)).unwrap();
    assert!(two.is_active(identity(2)) && two.view().alarms().is_empty());
}

#[test]
fn a_removed_identity_never_comes_back_and_its_numbers_stay_its_own() {
    let mut one = Membership::found(identity(0), record("a"), stamp(1, 0)).unwrap();
    let grant = one.admit(identity(0), identity(1), record("b"), stamp(2, 0)).unwrap();
    let mut two = one.clone();
    assert_eq!(one.remove(identity(1)), Ok(true));
    assert_eq!(one.remove(identity(1)), Ok(false));
    assert_eq!(
        one.admit(identity(0), identity(1), record("b"), stamp(3, 0)),
        Err(MembershipError::Removed(identity(1)))
    );
    // A member that does not know yet gives it another number, and changes its record: both fall with it.
    let fresh = two.grant_number(identity(1), identity(1), stamp(4, grant.number.value())).unwrap();
    two.update(identity(1), record("b2"), stamp(5, 1)).unwrap();
    one.merge(&two);
    assert!(one.view().member(identity(1)).is_none() && one.is_removed(identity(1)));
    assert_eq!(one.owner_of(fresh), Some(identity(1)));
    assert_eq!(one.view().numbers_of(identity(1)), [grant.number, fresh]);
    assert_eq!(one.view().former(identity(1)).unwrap().name, "b2", "it can be named as it was known last");
    assert_eq!(one.update(identity(1), record("c"), stamp(6, 0)), Err(MembershipError::Removed(identity(1))));
    // Its name is free for the node that takes its place.
    let again = one.admit(identity(0), identity(2), record("b"), stamp(6, 0)).unwrap();
    assert!(again.number != grant.number && again.number != fresh);
}

#[test]
fn two_lives_of_one_directory_that_hand_out_one_number_raise_an_alarm_everywhere() {
    let mut life = Membership::found(identity(0), record("a"), stamp(1, 0)).unwrap();
    let mut copy = life.clone();
    let first = life.admit(identity(0), identity(1), record("b"), stamp(2, 0)).unwrap();
    let second = copy.admit(identity(0), identity(2), record("c"), stamp(3, 0)).unwrap();
    assert_eq!(first.number, second.number);
    let outcome = life.merge(&copy);
    let alarm =
        MembershipAlarm::NumberGrantedTwice { number: first.number, holder: Some(identity(1)), refused: identity(2) };
    assert!(outcome.alarms.contains(&alarm), "{outcome:?}");
    assert_eq!(life.owner_of(first.number), Some(identity(1)));
    copy.merge(&life);
    assert_eq!(copy, life);
    assert!(copy.view().alarms().contains(&alarm));
}

fn holding(at: Stamp) -> Holding {
    Holding { applied: at, reach: at, waiting: Waiting::Nothing }
}

#[test]
fn a_removed_number_is_reported_by_all_who_are_left_and_then_sealed() {
    let mut known = Membership::found(identity(0), record("a"), stamp(1, 0)).unwrap();
    let gone = known.admit(identity(0), identity(1), record("b"), stamp(2, 0)).unwrap().number;
    known.admit(identity(0), identity(2), record("c"), stamp(3, 0)).unwrap();
    let at = |ms| Seal { at: stamp(ms, gone.value()), round: 1, whole: stamp(ms, gone.value()) };
    assert_eq!(known.seal(gone, at(4).at, at(4).at), Err(MembershipError::NotEnded(gone, identity(1))));
    known.remove(identity(1)).unwrap();
    assert_eq!(known.view().reports_missing(gone).len(), 2);
    let mut other = known.clone();
    known.report_holdings(identity(0), stamp(5, 0), [(gone, holding(at(100).at))]).unwrap();
    other.report_holdings(identity(2), stamp(6, 0), [(gone, holding(at(107).at))]).unwrap();
    let outcome = known.merge(&other);
    assert_eq!(outcome.changes, [MembershipChange::HoldingReported { number: gone, reporter: identity(2) }]);
    assert!(known.view().reports_missing(gone).is_empty());
    assert_eq!(known.view().reports(gone).map(|(_, report)| report.holding.applied).max(), Some(at(107).at));
    assert_eq!(known.seal(gone, at(107).at, at(107).at), Ok(at(107)));
    assert!(other.merge(&known).changes.contains(&MembershipChange::Sealed { number: gone, seal: at(107) }));
    assert_eq!(other.view().sealed(gone), Some(at(107)));
    // What was told is settled by that.
    assert_eq!(other.view().reports(gone).count(), 0);
    // All who had come so far are gone: it is told again, and sealed again where it was, with less of it known.
    other.report_holdings(identity(2), stamp(8, 0), [(gone, holding(at(1).at))]).unwrap();
    known.merge(&other);
    assert_eq!(known.view().reports_missing(gone), [identity(0)]);
    let again = Seal { at: at(107).at, round: 2, whole: at(1).at };
    assert_eq!(known.seal(gone, at(1).at, at(1).at), Ok(again));
    assert_eq!((known.view().reports(gone).count(), known.view().sealed(gone)), (0, Some(again)));
    other.merge(&known);
    assert_eq!(other, known);
}

#[test]
fn a_number_ends_by_the_word_of_its_owner_alone_or_with_it() {
    let mut known = Membership::found(identity(0), record("a"), stamp(1, 0)).unwrap();
    let first = known.admit(identity(0), identity(1), record("b"), stamp(2, 0)).unwrap().number;
    let next = known.grant_number(identity(1), identity(1), stamp(3, first.value())).unwrap();
    assert!(!known.view().has_ended(first));
    let told = known.report_holdings(identity(0), stamp(4, 0), [(first, holding(stamp(4, 1)))]);
    assert_eq!(told, Err(MembershipError::NotEnded(first, identity(1))));
    assert_eq!(known.end_number(first), Ok(true));
    assert_eq!(known.end_number(first), Ok(false));
    assert_eq!(known.view().ended().collect::<Vec<_>>(), [first]);
    known.remove(identity(1)).unwrap();
    assert!(known.view().has_ended(next));
    assert_eq!(known.end_number(number(900)), Err(MembershipError::NobodysNumber(number(900))));
}

#[test]
fn what_was_told_before_a_removal_was_known_does_not_count() {
    let mut known = Membership::found(identity(0), record("a"), stamp(1, 0)).unwrap();
    let first = known.admit(identity(0), identity(1), record("b"), stamp(2, 0)).unwrap().number;
    known.admit(identity(0), identity(2), record("c"), stamp(3, 0)).unwrap();
    known.grant_number(identity(1), identity(1), stamp(4, first.value())).unwrap();
    known.end_number(first).unwrap();
    let told = [(first, holding(stamp(4, first.value())))];
    known.report_holdings(identity(0), stamp(5, 0), told).unwrap();
    known.report_holdings(identity(1), stamp(6, 0), told).unwrap();
    assert_eq!(known.view().reports_missing(first), [identity(2)]);
    known.remove(identity(2)).unwrap();
    // Both may have taken something from the removed one after they told.
    assert_eq!(known.view().reports_missing(first).len(), 2);
    known.report_holdings(identity(0), stamp(7, 0), told).unwrap();
    known.report_holdings(identity(1), stamp(8, 0), told).unwrap();
    assert!(known.view().reports_missing(first).is_empty());
}

#[test]
fn what_was_told_before_a_life_had_ended_does_not_count() {
    let mut known = Membership::found(identity(0), record("a"), stamp(1, 0)).unwrap();
    let first = known.admit(identity(0), identity(1), record("b"), stamp(2, 0)).unwrap().number;
    let second = known.grant_number(identity(1), identity(1), stamp(3, first.value())).unwrap();
    known.end_number(first).unwrap();
    let told = |ms| [(first, holding(stamp(ms, first.value())))];
    known.report_holdings(identity(0), stamp(5, 0), told(5)).unwrap();
    known.report_holdings(identity(1), stamp(6, 0), told(9)).unwrap();
    assert!(known.view().reports_missing(first).is_empty());
    // The second life loses its memory and tells that it holds less. The other member may have taken what it held.
    known.grant_number(identity(1), identity(1), stamp(7, first.value())).unwrap();
    known.end_number(second).unwrap();
    known.report_holdings(identity(1), stamp(8, 0), told(0)).unwrap();
    assert_eq!(known.view().reports_missing(first), [identity(0)]);
}

#[test]
fn what_a_seal_said_to_be_known_in_part_is_not_called_whole_by_the_next_one() {
    let mut known = Membership::found(identity(0), record("a"), stamp(1, 0)).unwrap();
    let gone = known.admit(identity(0), identity(1), record("b"), stamp(2, 0)).unwrap().number;
    known.remove(identity(1)).unwrap();
    let at = |ms| stamp(ms, gone.value());
    known.seal(gone, at(50), at(30)).unwrap();
    // Who sealed it counts all up to there as applied.
    assert_eq!(known.seal(gone, at(50), at(50)), Ok(Seal { at: at(50), round: 2, whole: at(30) }));
    assert_eq!(known.seal(gone, at(40), at(20)), Ok(Seal { at: at(50), round: 3, whole: at(20) }));
}

#[test]
fn a_member_whose_admission_is_refused_is_asked_for_what_it_holds() {
    let mut one = Membership::found(identity(0), record("a"), stamp(1, 0)).unwrap();
    one.admit(identity(0), identity(1), record("b"), stamp(2, 0)).unwrap();
    let gone = one.admit(identity(0), identity(4), record("c"), stamp(3, 0)).unwrap().number;
    one.remove(identity(4)).unwrap();
    let mut two = one.clone();
    let first = one.admit(identity(0), identity(2), record("same"), stamp(10, 0)).unwrap().number;
    two.admit(identity(1), identity(3), record("same"), stamp(9, 1)).unwrap();
    one.merge(&two);
    // Its admission is refused, and it has links and takes batches all the same.
    let refused = identity(2);
    assert!(!one.is_active(refused));
    let told = |ms| [(gone, holding(stamp(ms, gone.value())))];
    for index in [0, 1, 3] {
        let ms = 20 + index as u64;
        one.report_holdings(identity(index), stamp(ms, 0), told(ms)).unwrap();
    }
    assert_eq!(one.view().reports_missing(gone), [refused]);
    one.report_holdings(refused, stamp(30, 0), told(30)).unwrap();
    assert!(one.view().reports_missing(gone).is_empty());
    // Its lives end by its word as well.
    assert_eq!(one.end_number(first), Ok(true));
}

#[test]
fn a_number_that_never_wrote_can_be_sealed_at_nothing() {
    let mut known = Membership::found(identity(0), record("a"), stamp(1, 0)).unwrap();
    let gone = known.admit(identity(0), identity(1), record("b"), stamp(2, 0)).unwrap().number;
    known.remove(identity(1)).unwrap();
    let nothing = Seal { round: 1, ..Seal::default() };
    assert_eq!(known.seal(gone, Stamp::ZERO, Stamp::ZERO), Ok(nothing));
    let read = Membership::decode(&known.encode()).unwrap();
    assert_eq!(read.view().sealed(gone), Some(nothing));
}

#[test]
fn a_change_needs_a_stamp_later_than_all_that_is_known() {
    let mut known = Membership::found(identity(0), record("a"), stamp(5, 0)).unwrap();
    let refused = known.admit(identity(0), identity(1), record("b"), stamp(5, 0));
    assert_eq!(refused, Err(MembershipError::StampTooOld(stamp(5, 0))));
    assert_eq!(known.latest_stamp(), stamp(5, 0));
}

#[test]
fn records_out_of_bounds_are_refused() {
    let mut known = Membership::found(identity(0), record("a"), stamp(1, 0)).unwrap();
    let long = "x".repeat(65);
    for name in ["", "two words", "nul\0", "ü", long.as_str()] {
        let refused = known.admit(identity(0), identity(1), record(name), stamp(2, 0));
        assert!(matches!(refused, Err(MembershipError::Record(_))), "{name:?}");
    }
}

#[test]
fn hostile_bytes_never_panic_and_never_decode_to_something_out_of_bounds() {
    let mut known = Membership::found(identity(0), record("a"), stamp(1, 0)).unwrap();
    known.admit(identity(0), identity(1), record("b"), stamp(2, 0)).unwrap();
    known.admit(identity(0), identity(2), record("c"), stamp(3, 0)).unwrap();
    known.remove(identity(2)).unwrap();
    known.release_drift(number(0), stamp(9, 0)).unwrap();
    let bytes = known.encode();
    assert_eq!(Membership::decode(&bytes).unwrap(), known);
    for length in 0..bytes.len() {
        assert!(Membership::decode(&bytes[..length]).is_err(), "a prefix of {length} bytes decodes");
    }
    for_seeds("hostile_bytes", 3000, |seed| {
        let mut random = Random::new(seed);
        let mut hostile = bytes.clone();
        for _ in 0..random.between(1, 4) {
            let at = random.below(hostile.len());
            hostile[at] = random.word() as u8;
        }
        if let Ok(mut read) = Membership::decode(&hostile) {
            read.merge(&known);
            assert_eq!(read, merged(&[&known, &read]));
            assert!(read.view().owners().count() <= usize::from(NODE_NUMBERS_MAX));
        }
    });
    // A claim of four billion entries in a few bytes reserves nothing.
    for tail in [[0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], [0xfc, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]] {
        let mut claim = vec![1];
        claim.extend(tail);
        assert_eq!(Membership::decode(&claim), Err(MembershipError::Encoding));
    }
}

#[test]
fn what_the_version_before_wrote_is_read() {
    let mut known = Membership::found(identity(0), record("a"), stamp(1, 0)).unwrap();
    known.admit(identity(0), identity(1), record("b"), stamp(2, 0)).unwrap();
    // It had no list of ended numbers; that is one empty list here, as are those of seals and of reports behind it.
    let mut before = known.encode();
    before[0] = 1;
    before.pop();
    assert_eq!(Membership::decode(&before), Ok(known));
}

#[test]
fn the_hash_is_the_same_on_every_machine_and_in_every_release() {
    let mut known = Membership::found(identity(0), record("a"), stamp(1, 0)).unwrap();
    known.admit(identity(0), identity(1), record("b"), stamp(1 << 33, 0)).unwrap();
    assert_eq!(
        known.stable_hash(),
        18_339_862_344_069_163_319,
        "the encoding changed: raise its version and keep reading the old one"
    );
}

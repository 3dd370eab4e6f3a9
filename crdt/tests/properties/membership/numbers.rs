//! Who may hand out node numbers: how they are shared, come back from who leaves, and run out.

use super::*;

#[test]
fn members_leave_and_come_back_for_years_without_a_number_used_twice() {
    let mut known = Membership::found(identity(0), record("base"), stamp(1, 0)).unwrap();
    let mut seen = vec![number(0)];
    for round in 1..=900usize {
        // The range runs thin after a while: then a member gets pieces back from others, or the cluster is full.
        let stamp = stamp(round as u64 + 1, 0);
        match known.admit(identity(0), identity(round), record("guest"), stamp) {
            Ok(grant) => {
                assert!(!seen.contains(&grant.number));
                seen.push(grant.number);
            }
            Err(MembershipError::NumbersExhausted(_)) => break,
            Err(other) => panic!("{other}"),
        }
        known.remove(identity(round)).unwrap();
    }
    assert!(known.view().numbers_gone_share() > 0.99, "{}", known.view().numbers_gone());
    assert!(seen.len() > 64, "{}", seen.len());
}

#[test]
fn who_leaves_in_order_takes_no_numbers_along_but_its_own_and_one() {
    let mut known = Membership::found(identity(0), record("base"), stamp(1, 0)).unwrap();
    for round in 1..=500usize {
        let ms = 2 * round as u64;
        let guest = identity(round);
        let grant = known.admit(identity(0), guest, record("guest"), stamp(ms, 0)).unwrap();
        let given = grant.range.map_or(0, |(low, high)| usize::from(high.value() - low.value()) + 1);
        let leaving = stamp(ms + 1, grant.number.value());
        assert_eq!(known.hand_over(guest, identity(0), leaving), Ok(given.saturating_sub(1)));
        assert_eq!(known.view().unspent_of(guest), given.min(1));
        if given > 0 {
            assert_eq!(known.view().range_due(u64::MAX, &|_| true), None, "nobody gives it others for those");
        }
        known.remove(guest).unwrap();
        assert!(usize::from(known.view().numbers_gone()) <= 1 + 2 * round);
        assert!(known.view().alarms().is_empty());
    }
    let nobody = known.hand_over(identity(1), identity(0), stamp(10_000, 0));
    assert_eq!(nobody, Err(MembershipError::Removed(identity(1))));
    let nowhere = known.hand_over(identity(0), identity(1), stamp(10_000, 0));
    assert_eq!(nowhere, Err(MembershipError::Removed(identity(1))));
}

/// Gives what is due until nothing is; returns who got something.
fn share(known: &mut Membership, ms: &mut u64, is_here: &dyn Fn(NodeIdentity) -> bool) -> Vec<NodeIdentity> {
    let mut receivers = Vec::new();
    while let Some(due) = known.view().range_due(u64::MAX, is_here) {
        *ms += 1;
        known.grant_range(due.giver, due.receiver, due.length, stamp(*ms, 0)).unwrap();
        receivers.push(due.receiver);
        assert!(receivers.len() < 20, "it never ends");
    }
    receivers
}

#[test]
fn what_is_not_handed_out_is_with_the_first_members_and_few_of_it_with_others() {
    let mut known = Membership::found(identity(0), record("m0"), stamp(1, 0)).unwrap();
    let mut ms = 1;
    for member in 1..6 {
        ms += 1;
        known.admit(identity(0), identity(member), record(&format!("m{member}")), stamp(ms, 0)).unwrap();
        share(&mut known, &mut ms, &|_| true);
    }
    let unspent = |known: &Membership, member: usize| known.view().unspent_of(identity(member));
    assert!((0..3).all(|member| unspent(&known, member) > 240), "{:?}", [0, 1, 2].map(|m| unspent(&known, m)));
    assert!((3..6).all(|member| unspent(&known, member) == 15));
    // The loss of one costs its share, and the next one takes its place.
    known.remove(identity(0)).unwrap();
    assert!(known.view().numbers_gone() < 430, "{}", known.view().numbers_gone());
    assert_eq!(share(&mut known, &mut ms, &|_| true)[0], identity(3));
    assert!(unspent(&known, 3) > 100 && unspent(&known, 4) == 15);
    // Whoever may be gone in an hour is given nothing that would go with it.
    known.remove(identity(1)).unwrap();
    let due = |known: &Membership, hours: u64| known.view().range_due(STAMP_EPOCH_MS + hours * 3_600_000, &|_| true);
    assert_eq!((due(&known, 0), due(&known, 2).map(|due| due.receiver)), (None, Some(identity(4))));
    assert!(known.view().alarms().is_empty());
}

#[test]
fn who_has_no_numbers_left_is_given_some_by_a_member_that_is_here() {
    let mut known = Membership::found(identity(0), record("a"), stamp(1, 0)).unwrap();
    let mut ms = 1;
    for member in 1..5 {
        ms += 1;
        known.admit(identity(0), identity(member), record(&format!("m{member}")), stamp(ms, 0)).unwrap();
    }
    share(&mut known, &mut ms, &|_| true);
    while known.grant_number(identity(4), identity(4), stamp(ms, 4)).is_ok() {
        ms += 1;
    }
    let most = known.view().range_due(0, &|_| true).unwrap();
    assert_eq!((most.receiver, most.length), (identity(4), 16));
    // Who is away gives nothing, and is given nothing.
    let other = known.view().range_due(0, &|member| member != most.giver).unwrap();
    assert!(other.receiver == identity(4) && other.giver != most.giver);
    // Each of them has its turn: whoever has most may have no link to it.
    let turns = (0..4).map(|turn| known.view().range_due(turn * 5_000, &|_| true).unwrap().giver);
    let givers: std::collections::BTreeSet<_> = turns.collect();
    assert_eq!(givers, (0..4).map(identity).collect());
    assert_eq!(known.view().range_due(u64::MAX, &|member| member != identity(4)), None);
    // With few there is somebody who has none as well, and the last one that anybody has stays where it is.
    for member in 0..5 {
        while known.view().unspent_of(identity(member)) > usize::from(member == 0) {
            ms += 1;
            known.grant_number(identity(member), identity(member), stamp(ms, 0)).unwrap();
        }
    }
    assert_eq!((known.view().unspent_of(identity(0)), known.view().range_due(u64::MAX, &|_| true)), (1, None));
}

#[test]
fn a_member_without_numbers_is_given_a_piece_of_anothers_range() {
    let mut known = Membership::found(identity(0), record("a"), stamp(1, 0)).unwrap();
    known.admit(identity(0), identity(1), record("b"), stamp(2, 0)).unwrap();
    let mut ms = 3;
    while known.grant_number(identity(1), identity(1), stamp(ms, 1)).is_ok() {
        ms += 1;
    }
    assert_eq!(known.view().unspent_of(identity(1)), 0);
    let refused = known.admit(identity(1), identity(2), record("c"), stamp(ms, 1));
    assert_eq!(refused, Err(MembershipError::NumbersExhausted(identity(1))));
    let (low, high) = known.grant_range(identity(0), identity(1), 16, stamp(ms + 1, 0)).unwrap();
    assert_eq!(known.view().unspent_of(identity(1)), usize::from(high.value() - low.value()) + 1);
    known.admit(identity(1), identity(2), record("c"), stamp(ms + 2, 1)).unwrap();
    assert!(known.view().alarms().is_empty());
}

/// Whoever removes a member in order gets its numbers, and passes them on to those that are to have them.
#[test]
fn what_a_young_member_was_given_by_one_that_left_goes_to_the_oldest() {
    let mut known = Membership::found(identity(0), record("m0"), stamp(1, 0)).unwrap();
    let mut ms = 1;
    for member in 1..5 {
        ms += 1;
        known.admit(identity(0), identity(member), record(&format!("m{member}")), stamp(ms, 0)).unwrap();
    }
    share(&mut known, &mut ms, &|_| true);
    let unspent = |known: &Membership, member: usize| known.view().unspent_of(identity(member));
    let given = known.hand_over(identity(0), identity(4), stamp(ms + 1, 0)).unwrap();
    known.remove(identity(0)).unwrap();
    assert!(given > 240 && unspent(&known, 4) > given);
    ms += 1;
    share(&mut known, &mut ms, &|_| true);
    let held = [1, 2, 3, 4].map(|member| unspent(&known, member));
    assert!(held[..3].iter().all(|count| *count > 200) && held[3] <= 64, "{held:?}");
}

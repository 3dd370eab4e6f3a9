//! Facts about the standing proof.

use super::*;
use crdt::NodeNumber;

fn at(ms: u64, n: u16) -> Stamp {
    Stamp::at(crdt::STAMP_EPOCH_MS + ms, NodeNumber::new(n).unwrap())
}

fn vector(stamps: &[(u64, u16)]) -> VersionVector {
    stamps.iter().map(|&(ms, n)| (at(ms, n).author(), at(ms, n))).collect()
}

/// A node whose slots all hold `slot + salt` since `since`.
fn frame(range: AuditRange, now: &VersionVector, since: &VersionVector, salt: u64) -> AuditFrame {
    AuditFrame::describe(range, false, now.clone(), |slot| SlotState {
        digest: u64::from(slot) + salt,
        since: Some(since),
    })
}

#[test]
fn nodes_that_rest_at_one_cut_prove_their_equality_with_one_small_frame() {
    let now = vector(&[(10, 1), (20, 2)]);
    let mine = frame(AuditRange::ROOT, &now, &vector(&[(10, 1)]), 0);
    let theirs = frame(AuditRange::ROOT, &now, &vector(&[(20, 2)]), 0);
    let outcome = compare(&mine, &theirs).unwrap();
    assert_eq!(outcome.equal, [0]);
    assert_eq!(follow_up(&theirs, &outcome, 0), None);
    assert!(mine.encode().len() < 64);
}

#[test]
fn spans_meet_without_equal_vectors() {
    // Both write all the time, but neither has touched these slots since a moment that the other has passed.
    let since = vector(&[(5, 1), (5, 2)]);
    let mine = frame(AuditRange::GROUPS, &vector(&[(90, 1), (40, 2)]), &since, 0);
    let theirs = frame(AuditRange::GROUPS, &vector(&[(30, 1), (95, 2)]), &since, 0);
    assert_eq!(compare(&mine, &theirs).unwrap().equal.len(), usize::from(AUDIT_GROUPS));
}

#[test]
fn what_the_other_has_not_seen_is_not_compared() {
    let mine = frame(AuditRange::ROOT, &vector(&[(50, 1)]), &vector(&[(50, 1)]), 0);
    let theirs = frame(AuditRange::ROOT, &vector(&[(49, 1)]), &vector(&[(1, 1)]), 7);
    assert_eq!(compare(&mine, &theirs).unwrap().not_comparable, [0]);
    assert_eq!(compare(&theirs, &mine).unwrap().not_comparable, [0]);
}

#[test]
fn one_hot_slot_hides_its_group_and_no_other() {
    let now = vector(&[(50, 1)]);
    let since = vector(&[(10, 1)]);
    let hot = AuditFrame::describe(AuditRange::GROUPS, false, now.clone(), |slot| SlotState {
        digest: u64::from(slot),
        since: (slot != 300).then_some(&since),
    });
    let outcome = compare(&hot, &frame(AuditRange::GROUPS, &now, &since, 0)).unwrap();
    assert_eq!(outcome.not_comparable, [300 / SLOTS_OF_A_GROUP]);
    assert_eq!(outcome.equal.len(), usize::from(AUDIT_GROUPS) - 1);
    assert_eq!(follow_up(&hot, &outcome, 9), Some((AuditRange::slots_of_group(2).unwrap(), false)));
}

#[test]
fn a_difference_is_followed_down_to_its_slot_and_both_learn_of_it() {
    let now = vector(&[(50, 1)]);
    let view = |range, answer, wrong: u16| {
        AuditFrame::describe(range, answer, now.clone(), |slot| SlotState {
            digest: u64::from(slot == wrong),
            since: Some(&now),
        })
    };
    let (a, b) = (5_000, u16::MAX);
    let mut range = AuditRange::ROOT;
    let mut answer = false;
    for (turn, (sender, receiver)) in [(a, b), (b, a), (a, b)].into_iter().enumerate() {
        let sent = view(range, answer, sender);
        let outcome = compare(&view(range, false, receiver), &sent).unwrap();
        assert_eq!(outcome.differing.len(), 1, "turn {turn}");
        (range, answer) = follow_up(&sent, &outcome, 0).unwrap();
    }
    assert!(answer && range.slots().contains(&5_000));
    let sent = view(range, answer, b);
    let outcome = compare(&view(range, false, a), &sent).unwrap();
    assert_eq!(outcome.differing, [5_000]);
    assert_eq!(follow_up(&sent, &outcome, 0), None);
}

#[test]
fn slots_that_changed_places_do_not_cancel_out() {
    let now = vector(&[(50, 1)]);
    let view = |swap: bool| {
        AuditFrame::describe(AuditRange::ROOT, false, now.clone(), |slot| SlotState {
            digest: u64::from(if swap && slot < 2 { 1 - slot } else { slot }),
            since: Some(&now),
        })
    };
    assert_eq!(compare(&view(false), &view(true)).unwrap().differing, [0]);
}

#[test]
fn frames_come_back_and_cut_ones_are_refused() {
    let now = vector(&[(500, 1), (20, 2), (7, 900)]);
    let many: Vec<VersionVector> = (0..400).map(|ms| vector(&[(ms, 1)])).collect();
    for range in [AuditRange::ROOT, AuditRange::GROUPS, AuditRange::ALL_SLOTS] {
        let sent = AuditFrame::describe(range, true, now.clone(), |slot| SlotState {
            digest: u64::from(slot) << 40,
            since: many.get(usize::from(slot) % 500),
        });
        let bytes = sent.encode();
        assert!(bytes.len() < limits::CONTROL_FRAME_BYTES_MAX / 4);
        assert_eq!(AuditFrame::decode(&bytes).unwrap(), sent);
        for cut in (0..bytes.len()).step_by(1 + bytes.len() / 500) {
            assert!(AuditFrame::decode(&bytes[..cut]).is_err());
        }
    }
}

#[test]
fn hostile_frames_do_no_harm() {
    let now = vector(&[(500, 1), (20, 2)]);
    let mine = frame(AuditRange::GROUPS, &now, &now, 3);
    let good = mine.encode();
    for place in 0..good.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut bytes = good.clone();
            bytes[place] = value;
            let Ok(theirs) = AuditFrame::decode(&bytes) else { continue };
            if theirs.range == mine.range {
                let outcome = compare(&mine, &theirs).unwrap();
                let _ = follow_up(&theirs, &outcome, u64::MAX);
            } else {
                assert!(compare(&mine, &theirs).is_err());
            }
        }
    }
}

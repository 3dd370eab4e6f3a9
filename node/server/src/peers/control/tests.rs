//! Orders as operators give them: one that is not understood as a whole is not carried out, and one that could not be kept
//! is not said to be.

use super::*;
use crate::peers::tests::{begun, founded, in_a_runtime};
use std::sync::Arc;
use storage::{MemoryCatalogue, SimulatedFs};

/// What an order is answered that waits for nobody.
fn order(peers: &mut Peers, words: &[&str]) -> ControlReply {
    let (answer, mut answered) = oneshot::channel();
    let words = words.iter().map(|word| word.as_bytes().to_vec()).collect();
    peers.take_request(Some(ControlRequest { words, answer }));
    answered.try_recv().expect("it is answered at once")
}

/// The number of a node that was admitted and removed.
fn removed(peers: &mut Peers, name: &str, identity: NodeIdentity) -> NodeNumber {
    let record = MemberRecord {
        name: name.into(),
        region: "s".into(),
        advertise: "127.0.0.1:3".into(),
        resp: "127.0.0.1:4".into(),
        http: String::new(),
    };
    let (me, stamp) = (peers.identity, peers.membership_stamp().unwrap());
    let number = peers.membership.admit(me, identity, record, stamp).unwrap().number;
    peers.membership.remove(identity).unwrap();
    number
}

#[test]
fn an_order_with_a_word_that_is_not_understood_is_not_carried_out() {
    in_a_runtime(|| {
        let (mut peers, _) = founded(None);
        let gone = NodeIdentity([9; 32]);
        let (own, number) = (peers.number().unwrap(), removed(&mut peers, "b", gone));
        let name = gone.to_string();
        let name = name.as_str();
        for words in [
            &["SEAL", name, "PREVIEW", "please"][..],
            &["SEAL", name, "DRYRUN"],
            &["RELEASE-DRIFT", "a", "DRYRUN"],
            &["RELEASE-DRIFT", "a", "PREVIEW", "PREVIEW"],
            &["REGION", "REMOVE", "a", "PREVIEW"],
            &["REGION", "REMOVE", "a", "FROCE"],
            &["REGION", "REMOVE", "a", "FORCE", "now"],
            &["REGION", "LIST", "a"],
            &["VERIFY", "5s"],
            &["VERIFY", "-1"],
            &["VERIFY", "5", "6"],
            &["STATUS", "now"],
        ] {
            assert_eq!(order(&mut peers, words), Err(NOT_UNDERSTOOD.to_owned()), "{words:?}");
        }
        let view = peers.membership.view();
        assert!(view.sealed(number).is_none() && view.drift_released(own).is_none());
        for words in [
            &["verify"][..],
            &["VERIFY", "5"],
            &["Release-Drift", "a", "preview"],
            &["SEAL", name, "Preview"],
            &["SEAL", name],
            &["RELEASE-DRIFT", "a"],
        ] {
            assert!(order(&mut peers, words).is_ok(), "{words:?}");
        }
        let view = peers.membership.view();
        assert!(view.sealed(number).is_some() && view.drift_released(own).is_some());
    });
}

#[test]
fn a_removed_node_is_sealed_only_if_nobody_else_can_be_meant() {
    in_a_runtime(|| {
        let (mut peers, _) = founded(None);
        assert_eq!(order(&mut peers, &["SEAL", "1"]), Err("no node was removed".to_owned()));
        let (one, other) = (NodeIdentity([0x1a; 32]), NodeIdentity([0x1b; 32]));
        let first = removed(&mut peers, "b", one);
        // Nothing is no beginning, also where only one can be meant.
        assert!(order(&mut peers, &["SEAL", ""]).unwrap_err().contains(&one.to_string()));
        let second = removed(&mut peers, "c", other);
        let sealed = |peers: &Peers| [first, second].map(|number| peers.membership.view().sealed(number).is_some());
        for meant in ["", "1", "2", "1a1b"] {
            let refusal = order(&mut peers, &["SEAL", meant]).unwrap_err();
            assert!(refusal.contains(&one.to_string()) && refusal.contains(&other.to_string()), "{refusal}");
        }
        let whole = hex(&one.0);
        for meant in ["1a", whole.as_str(), whole.to_uppercase().as_str()] {
            let preview = order(&mut peers, &["SEAL", meant, "PREVIEW"]).unwrap();
            let preview: Value = serde_json::from_str(&preview).unwrap();
            assert_eq!(preview["identity"].as_str(), Some(whole.as_str()));
        }
        assert_eq!(sealed(&peers), [false, false]);
        order(&mut peers, &["SEAL", whole.as_str()]).unwrap();
        assert!(sealed(&peers)[0]);
        let shown = other.to_string();
        order(&mut peers, &["SEAL", shown.as_str()]).unwrap();
        assert_eq!(sealed(&peers), [true, true]);
    });
}

#[test]
fn candidates_are_named_as_far_as_a_person_reads_them() {
    let identities: Vec<NodeIdentity> = (0..10).map(|first| NodeIdentity([first; 32])).collect();
    assert_eq!(listed(identities[..2].iter()), "0000000000000000, 0101010101010101");
    assert!(listed(identities.iter()).ends_with("0707070707070707 and 2 more"));
}

#[test]
fn an_order_that_could_not_be_kept_is_not_said_to_be_carried_out() {
    in_a_runtime(|| {
        let disk = SimulatedFs::new(1);
        let (mut peers, _) = begun(None, &Arc::new(MemoryCatalogue::on(&disk)), 1);
        disk.fail_power_at(disk.operations() + 1);
        assert_eq!(order(&mut peers, &["RELEASE-DRIFT", "a"]), Err(NOT_DURABLE.to_owned()));
        assert!(order(&mut peers, &["RELEASE-DRIFT", "a", "PREVIEW"]).is_ok());
    });
}

/// When the disk works again nobody thinks of an order that failed, and it must not be carried out then.
#[test]
fn a_member_is_not_removed_or_admitted_by_an_order_that_could_not_be_kept() {
    in_a_runtime(|| {
        let disk = SimulatedFs::new(1);
        let (mut peers, _) = begun(None, &Arc::new(MemoryCatalogue::on(&disk)), 1);
        let record = |name: &str| MemberRecord {
            name: name.into(),
            region: "s".into(),
            advertise: "127.0.0.1:3".into(),
            resp: "127.0.0.1:4".into(),
            http: String::new(),
        };
        peers.admit_member(NodeIdentity([9; 32]), record("b")).unwrap();
        let before = peers.membership.clone();
        disk.fail_power_at(disk.operations() + 1);
        let not_durable = || Err(NOT_DURABLE.to_owned());
        assert_eq!(peers.remove_member(NodeIdentity([9; 32])), not_durable());
        assert_eq!(peers.admit_member(NodeIdentity([8; 32]), record("c")).map(drop), not_durable());
        assert_eq!(peers.membership, before);
        // What may have come to the disk is written over.
        assert!(peers.is_unkept);
    });
}

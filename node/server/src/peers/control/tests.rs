//! Orders as operators give them: one that is not understood as a whole is not carried out, and one that could not be kept
//! is not said to be.

use super::*;
use crate::peers::tests::{begun, founded, in_a_runtime};
use crdt::Membership;
use std::sync::Arc;
use storage::{MemoryCatalogue, SimulatedFs};

/// What an order is answered that waits for nobody.
fn order(peers: &mut Peers, words: &[&str]) -> ControlReply {
    let (answer, mut answered) = oneshot::channel();
    let words = words.iter().map(|word| word.as_bytes().to_vec()).collect();
    peers.take_request(Some(ControlRequest { words, answer }));
    answered.try_recv().expect("it is answered at once")
}

fn member(name: &str, region: &str) -> MemberRecord {
    MemberRecord {
        name: name.into(),
        region: region.into(),
        advertise: "127.0.0.1:3".into(),
        resp: "127.0.0.1:4".into(),
        http: String::new(),
    }
}

/// The number of a node that was admitted and removed.
fn removed(peers: &mut Peers, name: &str, identity: NodeIdentity) -> NodeNumber {
    let record = member(name, "s");
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
    in_a_runtime(|| {
        let (mut peers, _) = founded(None);
        let identities: Vec<NodeIdentity> = (0..10).map(|first| NodeIdentity([first; 32])).collect();
        removed(&mut peers, "b", identities[0]);
        let listed = |few: &[NodeIdentity]| peers.listed(few.iter().copied());
        assert_eq!(listed(&identities[..2]), "0000000000000000 (b), 0101010101010101");
        assert!(listed(&identities).ends_with("0707070707070707 and 2 more"));
    });
}

/// A removal is for ever: an order that can mean another node than the operator thinks of means none.
#[test]
fn an_order_names_a_region_or_a_node_if_it_can_mean_nothing_else() {
    in_a_runtime(|| {
        let (mut peers, _) = founded(None);
        for (first, name, region) in [(1, "eu-1", "eu"), (2, "eu-2", "eu"), (3, "us", "us"), (0xab, "asia-1", "asia")] {
            peers.admit_member(NodeIdentity([first; 32]), member(name, region)).unwrap();
        }
        let called = |peers: &Peers, name: &str| -> Result<Vec<u8>, String> {
            Ok(peers.members_called(name)?.iter().map(|member| member.identity.0[0]).collect())
        };
        for (name, meant) in [("eu", &[1, 2][..]), ("eu-2", &[2]), ("us", &[3]), ("asia", &[0xab]), ("ABAB", &[0xab])] {
            assert_eq!(called(&peers, name).as_deref(), Ok(meant), "{name}");
        }
        for nobody in ["", "asia-", "aba", "0101x"] {
            assert!(called(&peers, nobody).unwrap_err().contains("no region or node"), "{nobody}");
        }
        // Names that would make two things of one are not given.
        for (name, region) in [("eu", "other"), ("asia", "us"), ("x", "asia-1")] {
            let refusal = peers.admit_member(NodeIdentity([5; 32]), member(name, region)).unwrap_err();
            assert!(refusal.contains("choose another name"), "{refusal}");
        }
        peers.admit_member(NodeIdentity([6; 32]), member("eu", "eu")).unwrap();
        let refusal = called(&peers, "eu").unwrap_err();
        for identity in ["0101010101010101 (eu-1)", "0202020202020202 (eu-2)", "0606060606060606 (eu)"] {
            assert!(refusal.contains(identity), "{refusal}");
        }
        assert_eq!(called(&peers, "06060606"), Ok(vec![6]));
        let both = peers.membership.view().members().len();
        assert!(order(&mut peers, &["REGION", "REMOVE", "eu", "FORCE"]).is_err());
        assert_eq!(peers.membership.view().members().len(), both, "nobody was removed");
        order(&mut peers, &["REGION", "REMOVE", "eu-1", "FORCE"]).unwrap();
        // Who was removed can be named.
        assert_eq!(peers.removed_called("eu-1"), Ok(NodeIdentity([1; 32])));
        assert_eq!(peers.name_of(NodeIdentity([1; 32])), "eu-1");
        let listed: Value = serde_json::from_str(&order(&mut peers, &["REGION", "LIST"]).unwrap()).unwrap();
        let gone = listed["members"].as_array().unwrap().iter().find(|member| member["state"] == "removed").unwrap();
        assert_eq!(
            (gone["node"].as_str(), gone["region"].as_str(), gone["identity"].as_str()),
            (Some("eu-1"), Some("eu"), Some("0101010101010101"))
        );
    });
}

#[test]
fn a_node_with_the_certificate_of_another_cluster_is_not_admitted() {
    in_a_runtime(|| {
        let (mut peers, _) = founded(None);
        let request = |cluster: &str| {
            json!({ "identity": "0b".repeat(32), "cluster": cluster, "name": "b", "region": "s",
                "advertise": "127.0.0.1:3", "resp": "127.0.0.1:4", "http": "" })
            .to_string()
        };
        for other in ["08".repeat(16), String::new()] {
            let refusal = order(&mut peers, &["REGION", "ADD", &request(&other)]).unwrap_err();
            assert!(refusal.contains("authority"), "{refusal}");
        }
        assert_eq!(peers.membership.view().members().len(), 1);
        order(&mut peers, &["REGION", "ADD", &request(&"07".repeat(16))]).unwrap();
        assert_eq!(peers.membership.view().members().len(), 2);
    });
}

#[test]
fn a_member_that_has_no_numbers_left_is_given_some_and_one_that_leaves_gives_its_own() {
    in_a_runtime(|| {
        let (mut peers, _) = founded(None);
        let (me, other) = (peers.identity, NodeIdentity([9; 32]));
        peers.admit_member(other, member("b", "s")).unwrap();
        while peers.membership.view().unspent_of(other) > 0 {
            let stamp = peers.membership_stamp().unwrap();
            peers.membership.grant_number(other, other, stamp).unwrap();
        }
        peers.housekeeping();
        assert_eq!(peers.membership.view().unspent_of(other), 0, "there is no link to it");
        peers.share_numbers_among(&|_| true);
        let given = peers.membership.view().unspent_of(other);
        assert!(given > 1, "{given}");
        peers.share_numbers_among(&|_| true);
        assert_eq!(peers.membership.view().unspent_of(other), given, "once");
        // It is asked to leave: what it could hand out is the other's, if it was told to drain before.
        let held = peers.membership.view().unspent_of(me);
        let [drain, leave] = [ASK_DRAIN, ASK_LEAVE].map(|order| [order, b"1"].concat());
        peers.answer(other, protocol::RequestId(1), &leave);
        assert_eq!(peers.membership.view().unspent_of(me), held);
        peers.answer(other, protocol::RequestId(2), &drain);
        peers.answer(other, protocol::RequestId(3), &leave);
        let view = peers.membership.view();
        assert_eq!((view.unspent_of(me), view.unspent_of(other)), (1, held - 1 + given));
        assert!(peers.node.condition.writes_refused().is_some_and(|reason| reason.contains("being removed")));
        let kept = Membership::decode(&peers.rows.membership().unwrap().unwrap()).unwrap();
        assert_eq!(kept.view().unspent_of(other), held - 1 + given, "durably");
    });
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
        let record = |name: &str| member(name, "s");
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

#[test]
fn slots_of_a_node_that_could_not_be_asked_are_not_called_busy() {
    in_a_runtime(|| {
        let (mut peers, _) = founded(None);
        peers.admit_member(NodeIdentity([9; 32]), member("b", "s")).unwrap();
        let (answer, mut answered) = oneshot::channel();
        peers.verify(Duration::from_secs(60), answer);
        assert!(answered.try_recv().is_err(), "it may still come");
        peers.pending.verifies[0].until = Instant::now();
        peers.check_pending();
        let told: Value = serde_json::from_str(&answered.try_recv().unwrap().unwrap()).unwrap();
        let away = json!({ "node": "b", "differing": [], "unsettled": 0, "busy": [], "not_asked": keyspace::SLOTS,
            "unreachable": true, "error": "it cannot be reached" });
        assert_eq!((&told["equal"], &told["peers"]), (&json!(false), &json!([away])));
    });
}

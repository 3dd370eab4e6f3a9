//! Collections that are too large for a list: scans are complete, random elements are different ones, and combining
//! sets loses nothing.

use crate::conformance::Server;
use crate::conformance::node::Pelago;
use crate::conformance::reply::Answer;
use std::collections::HashSet;

const MEMBERS: usize = 3000;

fn call(node: &mut Pelago, words: &[&str]) -> Answer {
    let args: Vec<Vec<u8>> = words.iter().map(|word| word.as_bytes().to_vec()).collect();
    node.call(&args)
}

fn texts(answer: Answer) -> Vec<String> {
    match answer {
        Answer::Array(answers) | Answer::Set(answers) => answers
            .into_iter()
            .map(|answer| match answer {
                Answer::Bulk(bytes) => String::from_utf8(bytes).unwrap(),
                other => panic!("not a text: {other}"),
            })
            .collect(),
        other => panic!("not a list of texts: {other}"),
    }
}

/// A node with the set `s` and the hash `h` of so many elements, and as many keys in database 1.
fn filled() -> Pelago {
    let mut node = Pelago::new();
    for number in 0..MEMBERS {
        let name = format!("name-{number}");
        call(&mut node, &["SADD", "s", &name]);
        call(&mut node, &["HSET", "h", &name, "value"]);
    }
    call(&mut node, &["SELECT", "1"]);
    for number in 0..MEMBERS {
        call(&mut node, &["SET", &format!("name-{number}"), "value"]);
    }
    call(&mut node, &["SELECT", "0"]);
    node
}

/// Everything a scan from cursor to cursor gives, and in how many steps.
fn scan(node: &mut Pelago, command: &[&str], count: &str) -> (Vec<String>, usize) {
    let (mut found, mut cursor, mut steps) = (Vec::new(), "0".to_owned(), 0);
    loop {
        let words = [command, &[cursor.as_str(), "COUNT", count]].concat();
        let Answer::Array(mut parts) = call(node, &words) else { panic!("a scan answers an array") };
        found.extend(texts(parts.pop().unwrap()));
        let Some(Answer::Bulk(next)) = parts.pop() else { panic!("a scan answers a cursor") };
        cursor = String::from_utf8(next).unwrap();
        steps += 1;
        assert!(steps <= MEMBERS, "{command:?} does not end");
        if cursor == "0" {
            return (found, steps);
        }
    }
}

#[test]
fn a_scan_sees_every_element_in_steps_of_about_its_count() {
    let mut node = filled();
    for count in ["10", "500"] {
        for (command, parts) in [(&["SSCAN", "s"][..], 1), (&["HSCAN", "h"], 2)] {
            let (found, steps) = scan(&mut node, command, count);
            let names: HashSet<&String> = found.iter().step_by(parts).collect();
            assert_eq!(names.len(), MEMBERS, "{command:?}");
            assert!(steps > 2, "{command:?} took {steps} steps");
        }
    }
    call(&mut node, &["SELECT", "1"]);
    let (found, steps) = scan(&mut node, &["SCAN"], "500");
    assert_eq!(found.iter().collect::<HashSet<_>>().len(), MEMBERS);
    assert!((3..=10).contains(&steps), "{steps}");
    assert_eq!(texts(call(&mut node, &["KEYS", "*"])).len(), MEMBERS);
}

#[test]
fn random_elements_are_different_ones_unless_repeats_are_asked_for() {
    let mut node = filled();
    for count in [1, 10, 999, 1001, 2999, 3000, 5000] {
        for command in [["SRANDMEMBER", "s"], ["HRANDFIELD", "h"]] {
            let found = texts(call(&mut node, &[command[0], command[1], &count.to_string()]));
            assert_eq!(found.len(), count.min(MEMBERS), "{command:?} {count}");
            assert_eq!(found.iter().collect::<HashSet<_>>().len(), found.len(), "{command:?} {count}");
        }
    }
    let found = texts(call(&mut node, &["SRANDMEMBER", "s", "-4000"]));
    assert_eq!(found.len(), 4000);
    let different = found.iter().collect::<HashSet<_>>().len();
    assert!((1500..3000).contains(&different), "{different} different ones of 3000 in 4000 draws");
}

#[test]
fn popped_members_are_gone_and_the_others_stay() {
    let mut node = filled();
    let mut popped = HashSet::new();
    for count in ["1", "10", "1200", "700"] {
        for member in texts(call(&mut node, &["SPOP", "s", count])) {
            assert!(popped.insert(member), "no member is popped twice");
        }
    }
    assert_eq!(popped.len(), 1911);
    let left: HashSet<String> = texts(call(&mut node, &["SMEMBERS", "s"])).into_iter().collect();
    assert_eq!(left.len(), MEMBERS - 1911);
    assert!(left.is_disjoint(&popped));
}

#[test]
fn combining_large_sets_loses_nothing() {
    let mut node = filled();
    for number in (0..MEMBERS * 2).step_by(2) {
        call(&mut node, &["SADD", "even", &format!("name-{number}")]);
    }
    for (words, expected) in [
        (&["SINTERCARD", "2", "s", "even"][..], 1500),
        (&["SUNIONSTORE", "t", "s", "even"], 4500),
        (&["SINTERSTORE", "t", "s", "even"], 1500),
        (&["SDIFFSTORE", "t", "s", "even"], 1500),
        (&["SCARD", "t"], 1500),
        (&["SDIFFSTORE", "s", "s", "t"], 1500),
        (&["SINTERCARD", "3", "s", "t", "even"], 0),
    ] {
        assert_eq!(call(&mut node, words), Answer::Integer(expected), "{words:?}");
    }
}

#[test]
fn encodings_are_named_by_the_limits_of_redis() {
    let mut node = Pelago::new();
    let encoding = |node: &mut Pelago, key: &str| match call(node, &["OBJECT", "ENCODING", key]) {
        Answer::Bulk(bytes) => String::from_utf8(bytes).unwrap(),
        other => panic!("{other}"),
    };
    for number in 0..512 {
        call(&mut node, &["SADD", "s", &number.to_string()]);
        call(&mut node, &["HSET", "h", &number.to_string(), "v"]);
    }
    assert_eq!((encoding(&mut node, "s"), encoding(&mut node, "h")), ("intset".to_owned(), "listpack".to_owned()));
    call(&mut node, &["SADD", "s", "512"]);
    call(&mut node, &["HSET", "h", "512", "v"]);
    assert_eq!((encoding(&mut node, "s"), encoding(&mut node, "h")), ("hashtable".to_owned(), "hashtable".to_owned()));
}

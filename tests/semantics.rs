//! What concurrent writes converge to, between real processes: every row of the contract for the types there are.
//!
//! Every row has keys of its own, so that all of a round run in one cluster: all setups, then a cut between all regions,
//! all commands of the one region, a moment later those of the other, the end of the cut, and what every region answers.
//! What a row cannot say is in `regional`; what subscribers hear of other regions is among the tests of messages (`push`).

mod regional;
mod rows;

use rows::{FLUSHING, ROWS, Row};
use std::time::{SystemTime, UNIX_EPOCH};
use tests::client::Client;
use tests::cluster::Cluster;
use tests::reply::Reply;
use tests::wait;

/// A word of a row as it is sent: capital letters that stand alone are keys of this row.
fn words(row: usize, line: &str) -> Vec<String> {
    let word = |word: &str| match word {
        "K" | "L" | "M" => format!("row{row}:{word}"),
        "\"\"" => String::new(),
        word => word.to_owned(),
    };
    line.split(' ').map(word).collect()
}

/// One line of a row. `until-gone K` waits until the key is over, `until-empty` until the database counts no key: what
/// was over is removed then. Any other must not be answered with an error.
fn run(client: &mut Client, row: usize, line: &str) {
    if line == "until-empty" {
        wait::until("what is over is removed", || match client.must("DBSIZE") {
            Reply::Integer(0) => Ok(()),
            other => Err(other.to_string()),
        });
        return;
    }
    if let Some(key) = line.strip_prefix("until-gone ") {
        wait::until("the key is over", || match client.call(&[&["EXISTS".to_owned()], &*words(row, key)].concat()) {
            Reply::Integer(0) => Ok(()),
            other => Err(other.to_string()),
        });
        return;
    }
    let reply = client.call(&words(row, line));
    assert!(!reply.is_error(), "row {row}: {line} was answered with {reply}");
}

/// The answer as the rows write it; what has no order is sorted.
fn shown(line: &str, reply: Reply) -> String {
    let name = line.split(' ').next().unwrap_or_default();
    let mut elements = reply.elements().to_vec();
    match name {
        "SMEMBERS" | "HKEYS" | "SUNION" | "KEYS" => elements.sort(),
        // What is the same in every region, and says nothing about memory.
        "XINFO" if line.starts_with("XINFO STREAM ") => {
            let pairs = elements.chunks_exact(2).filter(|pair| {
                ["last-generated-id", "max-deleted-entry-id", "entries-added"].contains(&&*pair[0].to_string())
            });
            elements = pairs.flatten().cloned().collect();
        }
        // Without the name of the stream, of which there is one.
        "XREADGROUP" if elements.len() == 1 => elements = elements[0].elements()[1].elements().to_vec(),
        "HGETALL" => {
            let mut pairs: Vec<[Reply; 2]> =
                elements.chunks_exact(2).map(|pair| [pair[0].clone(), pair[1].clone()]).collect();
            pairs.sort();
            elements = pairs.concat();
        }
        _ => return reply.to_string(),
    }
    if reply.is_error() {
        return reply.to_string();
    }
    Reply::Array(elements).to_string()
}

/// Expectations are texts, or `low..high` for a number in between.
fn fits(expected: &str, answer: &str) -> bool {
    match (expected.split_once(".."), answer.parse::<i64>()) {
        (Some((low, high)), Ok(number)) => {
            let bound = |text: &str| text.parse::<i64>().expect("a bound is a number");
            (bound(low)..=bound(high)).contains(&number)
        }
        _ => expected == answer,
    }
}

fn select(clients: &mut [Client], database: &str) {
    clients.iter_mut().for_each(|client| drop(client.must(&format!("SELECT {database}"))));
}

/// Stamps begin with milliseconds: what is written after this has a later one, in whichever region.
fn next_millisecond() {
    let millisecond = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let now = millisecond();
    wait::until(
        "time passes",
        || if millisecond() > now { Ok(()) } else { Err("it is the same millisecond".to_owned()) },
    );
}

/// Runs a round of rows, with these two regions as the two that write; says what came out otherwise than expected.
fn round(cluster: &Cluster, rows: &[Row], (first, second): (usize, usize)) -> Vec<String> {
    let mut clients = cluster.clients();
    for (number, row) in rows.iter().enumerate() {
        select(&mut clients, row.database);
        row.setup.iter().for_each(|line| run(&mut clients[first], number, line));
    }
    cluster.await_equal();
    cluster.cut_all();
    for (region, lines) in [(first, (|row| row.a) as fn(&Row) -> &'static [&'static str]), (second, |row| row.b)] {
        next_millisecond();
        for (number, row) in rows.iter().enumerate() {
            select(&mut clients, row.database);
            lines(row).iter().for_each(|line| run(&mut clients[region], number, line));
        }
    }
    cluster.heal_all();
    let mut wrong = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        select(&mut clients, row.database);
        for (line, expected) in row.reads {
            for (client, node) in clients.iter_mut().zip(&cluster.nodes) {
                let answer = shown(line, client.call(&words(number, line)));
                if !fits(expected, &answer) {
                    wrong.push(format!("{}: {line} at {} is {answer}, not {expected}", row.name, node.name));
                }
            }
        }
    }
    wrong
}

#[test]
fn concurrent_writes_converge_to_what_the_contract_says() {
    let cluster = Cluster::start(&["us-east", "eu-west", "ap-south"]);
    let mut wrong = round(&cluster, ROWS, (0, 1));
    // Each of these empties databases, so each has the cluster for itself. The flush is the earlier one, then the later.
    for row in FLUSHING {
        wrong.extend(round(&cluster, std::slice::from_ref(row), (0, 1)));
        wrong.extend(round(&cluster, &[Row { a: row.b, b: row.a, ..*row }], (0, 1)));
    }
    // Nothing is decided by who somebody is.
    cluster.nodes[0].client().must("FLUSHALL");
    cluster.await_equal();
    wrong.extend(round(&cluster, ROWS, (1, 0)));
    assert!(wrong.is_empty(), "{} answers are not what the contract says:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_order_of_the_two_regions_matters_only_where_the_contract_says_so() {
    let cluster = Cluster::start(&["us-east", "eu-west"]);
    let turned: Vec<Row> =
        ROWS.iter().filter(|row| row.either_order).map(|row| Row { a: row.b, b: row.a, ..*row }).collect();
    let wrong = round(&cluster, &turned, (0, 1));
    assert!(wrong.is_empty(), "{} answers depend on the order:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn a_transaction_is_seen_elsewhere_whole_or_not_at_all() {
    let cluster = Cluster::start(&["us-east", "eu-west"]);
    let (mut writer, mut reader) = (cluster.nodes[0].client(), cluster.nodes[1].client());
    // {1} and {2} are different slots, so the parts are locked, drained and applied apart.
    for step in 1..=TRANSACTIONS {
        for command in [
            vec!["MULTI".to_owned()],
            ["SET", "{1}a", &step.to_string()].map(str::to_owned).to_vec(),
            ["HSET", "{2}h", "f", &step.to_string()].map(str::to_owned).to_vec(),
            ["INCR", "{3}n"].map(str::to_owned).to_vec(),
            vec!["EXEC".to_owned()],
        ] {
            writer.queue(&command);
        }
        writer.send().unwrap();
        (0..5).for_each(|_| assert!(!writer.receive().unwrap().is_error()));
        let seen = snapshot(&mut reader, &["GET {1}a", "HGET {2}h f", "GET {3}n"]);
        assert!(seen.iter().all(|value| *value == seen[0]), "a part of a transaction was seen: {seen:?}");
    }
    cluster.await_equal();
    let seen = snapshot(&mut reader, &["GET {1}a", "HGET {2}h f", "GET {3}n"]);
    assert_eq!(seen, vec![TRANSACTIONS.to_string(); 3]);
}

#[test]
fn whoever_sees_a_write_sees_everything_its_writer_had_seen() {
    let cluster = Cluster::start(&["us-east", "eu-west", "ap-south"]);
    let mut clients = cluster.clients();
    let [writer, relay, witness] = &mut clients[..] else { panic!("there are three") };
    for round in 1..=CAUSAL_ROUNDS {
        // The first region reaches the third by way of the second alone, and late: the effect would overtake the cause.
        let goes_round = round % 10 == 1;
        if goes_round {
            cluster.cut_link(0, 2);
        }
        writer.must(&format!("SET {{1}}cause {round}"));
        wait::until("the cause has arrived", || {
            let seen = relay.must("GET {1}cause").to_string();
            if seen == round.to_string() { Ok(()) } else { Err(seen) }
        });
        relay.must(&format!("SET {{2}}effect {round}"));
        wait::until("the effect has arrived", || {
            let seen = snapshot(witness, &["GET {2}effect", "GET {1}cause"]);
            assert!(number(&seen[1]) >= number(&seen[0]), "the effect was seen without its cause: {seen:?}");
            if seen[0] == round.to_string() { Ok(()) } else { Err(seen.join(" ")) }
        });
        if goes_round {
            cluster.heal_link(0, 2);
        }
    }
}

#[test]
fn a_third_region_that_was_away_sees_causes_before_effects() {
    let cluster = Cluster::start(&["us-east", "eu-west", "ap-south"]);
    let mut clients = cluster.clients();
    let [writer, relay, witness] = &mut clients[..] else { panic!("there are three") };
    cluster.cut(2);
    for round in 1..=CAUSAL_ROUNDS {
        writer.must(&format!("SET {{1}}cause {round}"));
        wait::until("the cause has arrived", || {
            let seen = relay.must("GET {1}cause").to_string();
            if seen == round.to_string() { Ok(()) } else { Err(seen) }
        });
        relay.must(&format!("SET {{2}}effect {round}"));
    }
    cluster.heal(2);
    wait::until("the effects have arrived", || {
        let seen = snapshot(witness, &["GET {2}effect", "GET {1}cause"]);
        assert!(number(&seen[1]) >= number(&seen[0]), "the effect was seen without its cause: {seen:?}");
        if seen[0] == CAUSAL_ROUNDS.to_string() { Ok(()) } else { Err(seen.join(" ")) }
    });
}

/// Several reads at one moment.
fn snapshot(client: &mut Client, reads: &[&str]) -> Vec<String> {
    client.queue(&["MULTI"]);
    reads.iter().for_each(|read| client.queue(&read.split(' ').collect::<Vec<_>>()));
    client.queue(&["EXEC"]);
    client.send().expect("it is sent");
    (0..=reads.len()).for_each(|_| assert!(!client.receive().expect("an answer").is_error()));
    client.receive().expect("an answer").elements().iter().map(Reply::to_string).collect()
}

/// Nothing counts as 0.
fn number(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

const TRANSACTIONS: u64 = 500;
const CAUSAL_ROUNDS: u64 = 30;

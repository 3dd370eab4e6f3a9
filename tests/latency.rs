//! The latency monitor answers in Redis' form, about commands that really took long.

use std::fmt::Write;
use tests::client::Client;
use tests::cluster::Cluster;
use tests::redis::Redis;
use tests::reply::Reply;

/// Takes some milliseconds on any machine.
const SLOW: &str = "local x = 0 for i = 1, 3000000 do x = x + i % 7 end return 1";

/// What a reply is made of, without its numbers.
fn form(reply: &Reply) -> String {
    match reply {
        Reply::Integer(_) => ":".to_owned(),
        // Of a graph the words; how high the columns are is another matter.
        Reply::Verbatim(_) | Reply::Bulk(_) if reply.text().is_some_and(|text| text.contains("high")) => {
            let text = reply.text().expect("LATENCY answers a text");
            text.lines().next().expect("it has a line").replace(|letter: char| letter.is_ascii_digit(), "")
        }
        Reply::Array(elements) => elements.iter().fold("*".to_owned(), |mut text, element| {
            let _ = write!(text, "({})", form(element));
            text
        }),
        other => format!("{other}"),
    }
}

fn answers(client: &mut Client) -> Vec<String> {
    let mut answers = vec![client.must("CONFIG SET latency-monitor-threshold 1").to_string()];
    client.must("LATENCY RESET");
    client.call(&["EVAL", SLOW, "0"]);
    for line in [
        "LATENCY HISTORY command",
        "LATENCY HISTORY nosuch",
        "LATENCY GRAPH command",
        "LATENCY GRAPH nosuch",
        "LATENCY GRAPH",
        "LATENCY HISTORY COMMAND",
        "LATENCY RESET nosuch",
    ] {
        answers.push(form(&client.line(line)));
    }
    // Others may have been slow too on a busy machine.
    let latest = client.line("LATENCY LATEST");
    let entry = latest.elements().iter().find(|entry| entry.elements()[0].text().as_deref() == Some("command"));
    answers.push(form(entry.expect("the script took long")));
    assert_eq!(client.line("LATENCY RESET command"), Reply::Integer(1));
    answers.push(client.must("CONFIG SET latency-monitor-threshold 0").to_string());
    client.line("LATENCY RESET");
    client.call(&["EVAL", SLOW, "0"]);
    answers.push(form(&client.line("LATENCY LATEST")));
    answers.push(client.line("CONFIG SET latency-monitor-threshold -1").to_string());
    answers
}

#[test]
fn what_took_long_is_told_as_redis_tells_it() {
    let Some(redis) = Redis::start("what the latency monitor tells") else { return };
    let cluster = Cluster::start(&["only"]);
    let (mut node, mut redis) = (cluster.nodes[0].client(), redis.client());
    for version in ["2", "3"] {
        for client in [&mut node, &mut redis] {
            client.must(&format!("HELLO {version}"));
        }
        assert_eq!(answers(&mut node), answers(&mut redis), "protocol {version}");
    }
}

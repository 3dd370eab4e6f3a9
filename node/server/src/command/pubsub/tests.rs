use crate::testing::{Caller, node};
use std::sync::Arc;

fn lines(text: &str) -> String {
    text.split("\r\n").filter(|line| !line.starts_with(['*', '$'])).collect::<Vec<_>>().join(" ")
}

#[test]
fn subscriptions_are_confirmed_one_by_one_with_their_number() {
    let node = Arc::new(node());
    let mut client = Caller::new(&node);
    assert_eq!(lines(&client.call("SUBSCRIBE a b a")), "subscribe a :1 subscribe b :2 subscribe a :2 ");
    assert_eq!(lines(&client.call("PSUBSCRIBE x*")), "psubscribe x* :3 ");
    assert_eq!(lines(&client.call("SSUBSCRIBE s")), "ssubscribe s :1 ");
    assert_eq!(lines(&client.call("UNSUBSCRIBE")), "unsubscribe a :2 unsubscribe b :1 ");
    assert_eq!(client.call("UNSUBSCRIBE"), "*3\r\n$11\r\nunsubscribe\r\n$-1\r\n:1\r\n");
    assert_eq!(lines(&client.call("PUNSUBSCRIBE no x*")), "punsubscribe no :1 punsubscribe x* :0 ");
    assert_eq!(lines(&client.call("SUNSUBSCRIBE")), "sunsubscribe s :0 ");
    assert_eq!(client.call("PING"), "+PONG\r\n");
}

#[test]
fn a_subscriber_of_the_older_protocol_may_do_nothing_else() {
    let node = Arc::new(node());
    let mut client = Caller::new(&node);
    client.call("SUBSCRIBE a");
    assert_eq!(
        client.call("GET k"),
        "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this \
         context\r\n"
    );
    assert_eq!(client.call("PING"), "*2\r\n$4\r\npong\r\n$0\r\n\r\n");
    assert_eq!(client.call("PING hi"), "*2\r\n$4\r\npong\r\n$2\r\nhi\r\n");
    assert_eq!(client.call("RESET"), "+RESET\r\n");
    assert_eq!(client.call("GET k"), "$-1\r\n");
    assert_eq!(node.pubsub.channels(crate::pubsub::ChannelKind::Channel, None).len(), 0);
    let mut newer = Caller::new(&node);
    newer.call("HELLO 3");
    assert_eq!(newer.call("SUBSCRIBE a"), ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n");
    assert_eq!(newer.call("GET k"), "_\r\n");
}

#[test]
fn what_came_before_the_end_of_a_subscription_is_said_before_it() {
    let node = Arc::new(node());
    let (mut client, mut other) = (Caller::new(&node), Caller::new(&node));
    client.call("SUBSCRIBE a");
    assert_eq!(other.call("PUBLISH a hi"), ":1\r\n");
    assert_eq!(lines(&client.call("UNSUBSCRIBE a")), "message a hi unsubscribe a :0 ");
    assert_eq!(other.call("PUBLISH a hi"), ":0\r\n");
}

#[test]
fn a_transaction_may_subscribe_and_publish() {
    let node = Arc::new(node());
    let mut client = Caller::new(&node);
    for line in ["HELLO 3", "MULTI", "SUBSCRIBE a", "PUBLISH a x"] {
        client.call(line);
    }
    assert_eq!(client.call("EXEC"), "*2\r\n>3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n:1\r\n");
}

#[test]
fn a_transaction_that_changes_the_version_is_answered_in_one_piece_and_messages_come_before() {
    let node = Arc::new(node());
    let (mut client, mut other) = (Caller::new(&node), Caller::new(&node));
    for line in ["HELLO 3", "SUBSCRIBE a", "MULTI", "PING", "HELLO 2", "PUBLISH a own", "PING"] {
        client.call(line);
    }
    other.call("PUBLISH a hi");
    let answer = client.call("EXEC");
    let (messages, answer) = answer.split_at(answer.find("*4").unwrap());
    let message = |text: &str| format!(">3\r\n$7\r\nmessage\r\n$1\r\na\r\n${}\r\n{text}\r\n", text.len());
    assert_eq!(messages, message("hi") + &message("own"));
    assert!(answer.starts_with("*4\r\n+PONG\r\n*14\r\n$6\r\nserver\r\n"), "{answer}");
    assert!(answer.ends_with("*0\r\n:1\r\n*2\r\n$4\r\npong\r\n$0\r\n\r\n"), "{answer}");
    other.call("PUBLISH a x");
    assert!(client.mail().starts_with("*3\r\n$7\r\nmessage"));
}

#[test]
fn messages_and_what_is_subscribed_to_are_told_to_who_wants_no_replies() {
    let node = Arc::new(node());
    let (mut client, mut other) = (Caller::new(&node), Caller::new(&node));
    client.call("HELLO 3");
    assert_eq!(client.call("CLIENT REPLY OFF"), "");
    assert_eq!(lines(&client.call("SUBSCRIBE a b")), ">3 subscribe a :1 >3 subscribe b :2 ");
    other.call("PUBLISH a hi");
    assert_eq!(lines(&client.call("UNSUBSCRIBE a")), ">3 message a hi >3 unsubscribe a :1 ");
    assert_eq!(client.call("PING"), "");
    assert_eq!(client.call("MULTI") + &client.call("SUBSCRIBE c"), "");
    assert_eq!(client.call("EXEC"), ">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:2\r\n");
    other.call("PUBLISH b hi");
    assert_eq!(lines(&client.call("HELLO 2")), ">3 message b hi ");
    assert_eq!(lines(&client.call("UNSUBSCRIBE b c")), "unsubscribe b :1 unsubscribe c :0 ");
    assert_eq!(client.call("CLIENT REPLY ON"), "+OK\r\n");
    client.call("CLIENT REPLY SKIP");
    assert_eq!(lines(&client.call("SUBSCRIBE d")), "subscribe d :1 ");
    assert_eq!(lines(&client.call("UNSUBSCRIBE d")), "unsubscribe d :0 ");
    assert_eq!(client.call("PING"), "+PONG\r\n");
}

#[test]
fn what_is_subscribed_to_counts_as_memory_of_the_client() {
    let node = Arc::new(node());
    let mut client = Caller::new(&node);
    let memory = || node.clients.all()[0].memory_bytes();
    let before = memory();
    client.call(&format!("SUBSCRIBE {}", "a".repeat(10_000)));
    client.call(&format!("PSUBSCRIBE {}", "b".repeat(5_000)));
    assert!(memory() > before + 15_000);
    client.call("UNSUBSCRIBE");
    assert!(memory() < before + 10_000);
    client.call("PUNSUBSCRIBE");
    assert_eq!(memory(), before);
}

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

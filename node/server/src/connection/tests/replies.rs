//! Clients that have switched replies off, and commands whose answer comes later.

use super::waiting::until;
use super::{Scene, run};
use crate::clients::Marks;

#[tokio::test(flavor = "current_thread")]
async fn a_save_is_not_answered_to_a_client_that_wants_no_reply() {
    for (off, on) in [("CLIENT REPLY SKIP", "PING"), ("CLIENT REPLY OFF", "CLIENT REPLY ON\r\nPING")] {
        run(async |scene: Scene| {
            scene.node().durability.set_policy(true, false);
            let mut client = scene.connect();
            client.send(format!("{off}\r\nSAVE\r\n{on}\r\n").as_bytes()).await;
            until(|| scene.has_marked(1, Marks::ATTENDING)).await;
            scene.node().durability.note_checkpoint(false);
            client.expect(if on == "PING" { "+PONG\r\n" } else { "+OK\r\n+PONG\r\n" }).await;
        })
        .await;
    }
}

#[tokio::test(flavor = "current_thread")]
async fn orders_are_not_answered_to_a_client_that_wants_no_reply_and_are_to_one_that_does() {
    run(async |scene| {
        let mut client = scene.connect();
        for order in ["PELAGO BACKUP END x", "PELAGO BACKUP READ x 1 0"] {
            client.send(format!("CLIENT REPLY SKIP\r\n{order}\r\nPING\r\n").as_bytes()).await;
            client.expect("+PONG\r\n").await;
            client.send(format!("{order}\r\nPING\r\n").as_bytes()).await;
            client.expect("-ERR ").await;
            client.rest_of_line().await;
            client.expect("+PONG\r\n").await;
        }
    })
    .await;
}

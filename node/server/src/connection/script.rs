//! A connection whose last command runs a script for long: it goes on a little at a time, so that others are served.

use super::Connection;
use crate::client::ClientState;
use crate::clients::Marks;
use crate::dispatch::{self, Outcome};
use crate::worker::Worker;
use crdt::UnixMillis;
use resp::Reply;
use tokio::io::{AsyncRead, AsyncWrite};

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<'_, S> {
    /// Runs the script to its end, also if the client goes meanwhile, and reads the clock again.
    #[cold]
    pub(super) async fn wait_for_script(&mut self) -> UnixMillis {
        self.presence.mark(Marks::ATTENDING, true);
        let mut rest = Rest { worker: self.worker, client: &mut self.client, reply: &mut self.reply, is_over: false };
        while !rest.go_on() {
            tokio::task::yield_now().await;
        }
        drop(rest);
        self.attended();
        // What it waits for may be of another writer, and later.
        self.client.written = self.client.written.max(self.worker.last_stamp());
        self.worker.node.wall_clock()
    }
}

/// What is left of a script. If nobody waits for it any more because the worker ends, it is ended too, and not left in its
/// middle with its keys locked.
struct Rest<'r> {
    worker: &'r Worker,
    client: &'r mut ClientState,
    reply: &'r mut Reply,
    is_over: bool,
}

impl Rest<'_> {
    /// Lets it go on for a moment. True if it has ended.
    fn go_on(&mut self) -> bool {
        self.is_over = dispatch::go_on(self.worker, self.client, self.reply) != Outcome::Aside;
        if self.is_over {
            self.worker.end_pipeline();
            let node = &self.worker.node;
            node.blocking.tidy(&node.keyspace);
            node.tracking.tidy(&node.keyspace);
        }
        self.is_over
    }
}

impl Drop for Rest<'_> {
    fn drop(&mut self) {
        while !self.is_over {
            self.worker.node.scripts.running.end_all();
            self.go_on();
        }
    }
}

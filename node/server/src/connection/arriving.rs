//! A connection whose last command waits for other regions, for what comes from them, or for the disk.

use super::{Connection, Wait};
use crate::arrivals::{Awaited, Goal, Outcome, Token, Wanted};
use crate::clients::Marks;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};

/// What happened while it waited.
enum Came {
    Outcome(Outcome),
    /// As long as it would wait is over.
    TimeOver,
    /// Something was posted to the client.
    Mail,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<'_, S> {
    /// Waits until what the last command asked for has arrived, or for as long as that said, and answers it.
    pub(super) async fn wait_for_arrival(&mut self, awaited: Awaited) -> io::Result<()> {
        let (worker, presence) = (self.worker, self.presence);
        let node = &worker.node;
        let written = self.client.written;
        let mut look = self.look(node.wall_clock());
        look.marks |= Marks::BLOCKED;
        presence.update(&look);
        let wanted = match &awaited.goal {
            Goal::Regions(count) => Wanted::Regions { written, count: *count },
            Goal::Token(seen) => Wanted::Here(seen.clone()),
            Goal::Seen => Wanted::Closed(node.keyspace.clock()),
            Goal::Durable { .. } => Wanted::Elsewhere,
        };
        let mut entered = node.arrivals.enter(self.client.id(), wanted);
        self.release();
        let mut time = pin!(async {
            match awaited.timeout {
                Some(timeout) => tokio::time::sleep(timeout).await,
                None => std::future::pending().await,
            }
        });
        let mut durable = pin!(async {
            match &awaited.goal {
                Goal::Durable { is_awaited: true } => drop(node.durability.reaches(written).await),
                Goal::Durable { is_awaited: false } => {}
                Goal::Regions(_) | Goal::Token(_) | Goal::Seen => std::future::pending().await,
            }
        });
        let outcome = loop {
            let came = poll_fn(|context| {
                if let Poll::Ready(outcome) = entered.poll(context) {
                    return Poll::Ready(Ok(Came::Outcome(outcome)));
                }
                if durable.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Ok(Came::Outcome(Outcome::Arrived)));
                }
                if time.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Ok(Came::TimeOver));
                }
                self.poll_meanwhile(context)
            });
            match came.await? {
                Came::Outcome(outcome) => break Some(outcome),
                Came::TimeOver => break None,
                Came::Mail => self.write().await?,
            }
        };
        drop(entered);
        if !std::mem::take(&mut self.client.is_answer_unwanted) {
            self.take_reply_buffer();
            self.answer_arrival(&awaited.goal, outcome);
        }
        presence.update(&self.look(node.wall_clock()));
        Ok(())
    }

    /// What the client sends while it waits is kept: the end is behind it, and is to be known.
    fn poll_meanwhile(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Came>> {
        let most = self.worker.config(|config| config.client_query_buffer_limit);
        loop {
            let aborted = || Poll::Ready(Err(io::Error::from(io::ErrorKind::ConnectionAborted)));
            if self.is_input_over(most) {
                return aborted();
            }
            match self.poll_read(context) {
                Poll::Ready(Ok(Wait::Bytes)) => self.presence.set_input(self.input.count()),
                Poll::Ready(Ok(Wait::Mail)) => return Poll::Ready(Ok(Came::Mail)),
                Poll::Ready(Ok(Wait::Over)) => return aborted(),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn answer_arrival(&mut self, goal: &Goal, outcome: Option<Outcome>) {
        let (node, written) = (&self.worker.node, self.client.written);
        let reply = &mut self.reply;
        match (goal, outcome) {
            (_, Some(Outcome::Unblocked { with_error: true })) => {
                reply.error("UNBLOCKED client unblocked via CLIENT UNBLOCK");
            }
            (Goal::Regions(_), _) => reply.count(node.arrivals.regions_with(written)),
            (Goal::Token(_), outcome) => reply.integer(i64::from(outcome == Some(Outcome::Arrived))),
            (Goal::Seen, Some(Outcome::Seen(seen))) => {
                let token = node.arrivals.cluster().map(|cluster| Token { cluster, seen }.encode());
                match token {
                    Ok(text) => reply.bulk(text.as_bytes()),
                    Err(error) => reply.error(&format!("ERR {error}")),
                }
            }
            (Goal::Seen, _) => {
                reply.error("ERR the disk is too slow to say what has been written; try again");
            }
            (Goal::Durable { .. }, _) => {
                reply.array(2);
                reply.integer(i64::from(node.durability.is_on() && node.durability.durable() >= written));
                // What other regions have flushed is not known here.
                reply.integer(0);
            }
        }
    }
}

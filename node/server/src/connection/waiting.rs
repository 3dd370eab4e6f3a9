//! A connection whose last command waits for a key: what it does until it is served or ends.

use super::{Connection, PAUSE_LOOK, Wait};
use crate::blocking::{Outcome, Waiter};
use crate::limits::READ_BUFFER_BYTES;
use crate::worker::Worker;
use crdt::UnixMillis;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<'_, S> {
    /// Waits until a key holds something for the last command, answers it, and reads the clock again.
    #[cold]
    pub(super) async fn wait_for_key(&mut self, now: UnixMillis) -> io::Result<UnixMillis> {
        let (worker, presence) = (self.worker, self.presence);
        presence.update(&self.client.look(now, self.reply.version(), self.input.len()));
        let Some(waiting) = self.client.waiting.take() else { return Ok(now) };
        let turn = Turn { worker, waiter: &waiting.waiter };
        let mut time = waiting.timeout.map(|timeout| Box::pin(tokio::time::sleep(timeout)));
        let mut pause = None;
        let outcome = poll_fn(|context| {
            loop {
                if let Some(outcome) = turn.waiter.outcome() {
                    return Poll::Ready(Ok(outcome));
                }
                if turn.look(&mut pause, context) {
                    continue;
                }
                if time.as_mut().is_some_and(|time| time.as_mut().poll(context).is_ready()) {
                    turn.waiter.end(Outcome::Nothing);
                    continue;
                }
                // What comes meanwhile is kept, up to a bound; the end is to be known.
                if self.input.len() >= READ_BUFFER_BYTES {
                    presence.wake_at_end(context.waker());
                    if !presence.is_ended() {
                        return Poll::Pending;
                    }
                }
                match self.poll_read(context) {
                    Poll::Ready(Ok(Wait::Bytes)) => {}
                    Poll::Ready(Ok(Wait::Over)) => {
                        return Poll::Ready(Err(io::Error::from(io::ErrorKind::ConnectionAborted)));
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => return Poll::Pending,
                }
            }
        });
        let outcome = outcome.await?;
        drop(turn);
        if let Outcome::Served { stamp, .. } = &outcome {
            self.written = self.written.max(*stamp);
        }
        waiting.answer(&outcome, &mut self.reply);
        let now = worker.node.wall_clock();
        presence.update(&self.client.look(now, self.reply.version(), self.input.len()));
        Ok(now)
    }
}

/// A client that waits for a key. However it ends, it leaves the queues.
struct Turn<'t> {
    worker: &'t Worker,
    waiter: &'t Waiter,
}

impl Turn<'_> {
    /// Serves whoever waits, itself or others, if it was called for that or a pause may be over. True if something may
    /// have come of it.
    fn look(&self, pause: &mut Option<Pin<Box<tokio::time::Sleep>>>, context: &mut Context<'_>) -> bool {
        let is_called = self.waiter.is_called(context.waker());
        let is_over = pause.as_mut().is_some_and(|pause| pause.as_mut().poll(context).is_ready());
        if !is_called && !is_over {
            return false;
        }
        let node = &self.worker.node;
        let now = node.wall_clock();
        let until = node.blocking.serve(node, &mut self.worker.writer(), now);
        let span = until.map(|until| Duration::from_millis(until.saturating_sub(now)).min(PAUSE_LOOK));
        *pause = span.map(|span| Box::pin(tokio::time::sleep(span)));
        true
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.waiter.end(Outcome::Nothing);
        self.worker.node.blocking.leave(&self.worker.node, self.waiter);
    }
}

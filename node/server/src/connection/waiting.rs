//! A connection whose last command waits for a key: what it does until it is served or ends.

use super::{Connection, PAUSE_LOOK, Wait};
use crate::blocking::{Outcome, Waiter};
use crate::worker::Worker;
use crdt::UnixMillis;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<'_, S> {
    /// Writes the replies of what came before the last command, waits until a key holds something for that, answers it, and
    /// reads the clock again.
    #[cold]
    pub(super) async fn wait_for_key(&mut self, now: UnixMillis) -> io::Result<UnixMillis> {
        let (worker, presence) = (self.worker, self.presence);
        let Some(waiting) = self.client.waiting.take() else { return Ok(now) };
        // SUBTLE: before the first wait: others see the client in the queues already, and it may end while it is written to.
        let turn = Turn { worker, waiter: &waiting.waiter };
        let mut time = waiting.timeout.map(|timeout| Box::pin(tokio::time::sleep(timeout)));
        let mut pause = None;
        self.write_in_turn(&turn, &mut pause).await?;
        self.release();
        let most = worker.config(|config| config.client_query_buffer_limit);
        let outcome = loop {
            let came = poll_fn(|context| {
                loop {
                    if let Some(outcome) = turn.waiter.outcome() {
                        return Poll::Ready(Ok(Came::Outcome(outcome)));
                    }
                    if turn.look(&mut pause, context) {
                        continue;
                    }
                    if time.as_mut().is_some_and(|time| time.as_mut().poll(context).is_ready()) {
                        turn.waiter.end(Outcome::Nothing);
                        continue;
                    }
                    // What comes meanwhile is kept: the end is behind it, and is to be known.
                    if self.is_input_over(most) {
                        return Poll::Ready(Err(io::Error::from(io::ErrorKind::ConnectionAborted)));
                    }
                    match self.poll_read(context) {
                        Poll::Ready(Ok(Wait::Bytes)) => presence.set_input(self.input.count()),
                        Poll::Ready(Ok(Wait::Mail)) => return Poll::Ready(Ok(Came::Mail)),
                        Poll::Ready(Ok(Wait::Over)) => {
                            return Poll::Ready(Err(io::Error::from(io::ErrorKind::ConnectionAborted)));
                        }
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                        Poll::Pending => return Poll::Pending,
                    }
                }
            });
            match came.await? {
                Came::Outcome(outcome) => break outcome,
                Came::Mail => self.write_in_turn(&turn, &mut pause).await?,
            }
        };
        drop(turn);
        if let Outcome::Served { stamp, .. } = &outcome {
            self.client.written = self.client.written.max(*stamp);
        }
        if !std::mem::take(&mut self.client.is_answer_unwanted) {
            waiting.answer(&outcome, &mut self.reply);
        }
        let now = worker.node.wall_clock();
        presence.update(&self.look(now));
        Ok(now)
    }

    /// Writes all replies so far. Meanwhile it serves others, as one that waits does.
    async fn write_in_turn(&mut self, turn: &Turn<'_>, pause: &mut Pause) -> io::Result<()> {
        let mut write = pin!(self.write());
        poll_fn(|context| {
            while turn.look(pause, context) {}
            write.as_mut().poll(context)
        })
        .await
    }
}

/// What happened while it waited.
enum Came {
    /// The end of that.
    Outcome(Outcome),
    /// Something was posted to the client.
    Mail,
}

/// The time until it is looked again whether somebody may be served.
type Pause = Option<Pin<Box<tokio::time::Sleep>>>;

/// A client that waits for a key. However it ends, it leaves the queues.
struct Turn<'t> {
    worker: &'t Worker,
    waiter: &'t Waiter,
}

impl Turn<'_> {
    /// Serves whoever waits, itself or others, if it was called for that or a pause may be over. True if something may
    /// have come of it.
    fn look(&self, pause: &mut Pause, context: &mut Context<'_>) -> bool {
        let is_called = self.waiter.is_called(context.waker());
        let is_over = pause.as_mut().is_some_and(|pause| pause.as_mut().poll(context).is_ready());
        if !is_called && !is_over {
            return false;
        }
        let node = &self.worker.node;
        let now = node.wall_clock();
        let until = node.blocking.serve_again(node, &mut self.worker.writer(), now);
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

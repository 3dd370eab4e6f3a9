//! What a connection waits for between two requests beside keys: the end of a pause, the disk, the answer of another
//! thread. What is posted to the client meanwhile is written at once.

use super::{Connection, PAUSE_LOOK};
use crate::client::Order;
use crate::clients::Marks;
use crate::durability::Wish;
use crate::migration;
use crate::relocations::stamp_of;
use crdt::UnixMillis;
use resp::Reply;
use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::{Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

/// As long as what something is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asker {
    /// The client is there.
    IsThere,
    /// Whether it is does not matter.
    MayHaveGone,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<'_, S> {
    /// Waits until a pause may be over, and reads the clock again. What the client sends meanwhile is kept; if it goes, the
    /// command that waits is not run.
    #[cold]
    pub(super) async fn wait_for_pause(&mut self, now: UnixMillis, until: UnixMillis) -> io::Result<UnixMillis> {
        let node = &self.worker.node;
        let over = async {
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(until.saturating_sub(now)).min(PAUSE_LOOK)) => {}
                () = node.condition.pause_ended() => {}
            }
        };
        // A key that is being moved is free again in a moment: what was sent before the end of the stream is answered.
        let is_paused = node.condition.is_loading() || node.condition.paused_until(now, true).is_some();
        let asker = if is_paused { Asker::IsThere } else { Asker::MayHaveGone };
        self.attend_as_long_as(asker, over).await?;
        Ok(node.wall_clock())
    }

    /// Waits for the answer of another thread, and reads the clock again.
    #[cold]
    pub(super) async fn wait_for_answer(&mut self) -> io::Result<UnixMillis> {
        if let Some(wish) = self.client.wish.take() {
            self.grant(wish).await?;
        }
        let answer = match self.client.order.take() {
            None => return Ok(self.worker.node.wall_clock()),
            Some(Order::Text(answer)) => self.answered(answer).await?.map(|text| Some(text.into_bytes())),
            Some(Order::Arrival(awaited)) => {
                self.wait_for_arrival(*awaited).await?;
                return Ok(self.worker.node.wall_clock());
            }
            Some(Order::Relocation(mut relocating)) => {
                let outcome = self.attend(&mut relocating.outcome).await?.ok();
                self.client.written = self.client.written.max(stamp_of(outcome));
                self.answer_late(|reply| relocating.answer(outcome, reply));
                return Ok(self.worker.node.wall_clock());
            }
            Some(Order::Migration(wish)) => {
                let migrated = self.attend(migration::carry_out(self.worker, &wish)).await?;
                self.client.written = self.client.written.max(migrated.stamp);
                self.answer_whether_done(migrated.error());
                return Ok(self.worker.node.wall_clock());
            }
            Some(Order::Settings(change)) => {
                let changed = self.attend(change.carry_out(&self.worker.node, self.presence.id)).await?;
                self.answer_whether_done(changed.err().map(|error| error.to_string()));
                return Ok(self.worker.node.wall_clock());
            }
            Some(Order::Chunk(answer)) => self.answered(answer).await?,
        };
        self.answer_late(|reply| match answer {
            Ok(Some(bytes)) => reply.bulk(&bytes),
            Ok(None) => reply.null(),
            Err(sentence) => reply.error(&format!("ERR {sentence}")),
        });
        Ok(self.worker.node.wall_clock())
    }

    /// Answers that the last command was done, or its error.
    fn answer_whether_done(&mut self, error: Option<String>) {
        if let Some((ordinal, error)) = self.client.last_command.zip(error.as_ref()) {
            self.client.tally.failed(ordinal, error);
        }
        self.answer_late(|reply| match error {
            Some(error) => reply.error(&error),
            None => reply.ok(),
        });
    }

    /// Writes the answer to the last command, if the client wants it.
    fn answer_late(&mut self, write: impl FnOnce(&mut Reply)) {
        if !std::mem::take(&mut self.client.is_answer_unwanted) {
            self.take_reply_buffer();
            write(&mut self.reply);
        }
    }

    /// Waits for what the last command asked of the disk, and answers it.
    async fn grant(&mut self, wish: Wish) -> io::Result<()> {
        let worker = self.worker;
        let is_granted = self.attend(worker.node.durability.grant(wish)).await?;
        self.answer_late(|reply| wish.answer(is_granted, reply));
        Ok(())
    }

    /// The answer of another thread, or a sentence if there will be none.
    async fn answered<T>(&mut self, answer: oneshot::Receiver<Result<T, String>>) -> io::Result<Result<T, String>> {
        Ok(self.attend(answer).await?.unwrap_or_else(|_| Err("the node is stopping".to_owned())))
    }

    /// Waits for what has begun, also if the client has gone: it is not broken off in its middle, and takes its time at
    /// most. Breaks off when somebody ends the connection.
    async fn attend<T>(&mut self, what: impl Future<Output = T>) -> io::Result<T> {
        self.attend_as_long_as(Asker::MayHaveGone, what).await
    }

    /// Waits for something. That its client says nothing meanwhile ends nothing.
    async fn attend_as_long_as<T>(&mut self, asker: Asker, what: impl Future<Output = T>) -> io::Result<T> {
        let came = self.attend_marked(asker, what).await;
        self.attended();
        came
    }

    /// It is not waited for us any more.
    pub(super) fn attended(&self) {
        self.presence.note_active(self.worker.node.wall_clock());
        self.presence.mark(Marks::ATTENDING, false);
    }

    async fn attend_marked<T>(&mut self, asker: Asker, what: impl Future<Output = T>) -> io::Result<T> {
        let mut what = pin!(what);
        let presence = self.presence;
        loop {
            // What was written in between may have been waited for, and so the mark be gone.
            presence.mark(Marks::ATTENDING, true);
            let came = poll_fn(|context| {
                presence.wake_at_end(context.waker());
                if presence.is_ended() {
                    return Poll::Ready(Err(io::Error::from(io::ErrorKind::ConnectionAborted)));
                }
                match what.as_mut().poll(context) {
                    Poll::Ready(came) => Poll::Ready(Ok(Some(came))),
                    Poll::Pending if presence.has_mail() => Poll::Ready(Ok(None)),
                    Poll::Pending if asker == Asker::MayHaveGone => Poll::Pending,
                    Poll::Pending => {
                        ready!(self.poll_ahead(context))?;
                        Poll::Ready(Err(io::Error::from(io::ErrorKind::ConnectionAborted)))
                    }
                }
            });
            match came.await? {
                Some(came) => return Ok(came),
                None => self.write().await?,
            }
        }
    }
}

//! A connection whose client does not read as fast as it asks. What it sends meanwhile, as while it is paused, is read and
//! kept, up to `client-query-buffer-limit`, and nothing of it is executed: many a client reads no reply before it has sent
//! all of its requests.

use super::{Connection, Wait, note_overrun};
use crate::config::OutputLimit;
use crate::limits::READ_BUFFER_BYTES;
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite};

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<'_, S> {
    /// Writes the rest to a client that does not read as fast as it asks.
    #[cold]
    pub(super) async fn write_slowly(&mut self, limit: OutputLimit, written: &mut usize) -> io::Result<()> {
        let presence = self.presence;
        let is_over = |waiting: usize| limit.soft_bytes > 0 && waiting as u64 > limit.soft_bytes;
        let all = self.reply.len();
        let mut time = is_over(all - *written).then(|| Box::pin(tokio::time::sleep(limit.soft_time)));
        let mut is_open = true;
        let outcome = poll_fn(|context| {
            let before = *written;
            if let Poll::Ready(outcome) = self.poll_write(context, written) {
                return Poll::Ready(outcome);
            }
            if *written > before {
                presence.note_active(self.worker.node.wall_clock());
            }
            if is_open && let Poll::Ready(end) = self.poll_ahead(context) {
                is_open = false;
                end?;
            }
            presence.set_unread((all - *written) as u64);
            // With what is posted meanwhile.
            let waiting = all - *written + usize::try_from(presence.posted().0).unwrap_or(0);
            if !is_over(waiting) {
                time = None;
            } else if time.is_none() {
                time = Some(Box::pin(tokio::time::sleep(limit.soft_time)));
            }
            match time.as_mut().map(|time| time.as_mut().poll(context)) {
                Some(Poll::Ready(())) => Poll::Ready(Err(self.exceed(waiting, "soft"))),
                Some(Poll::Pending) | None => Poll::Pending,
            }
        });
        let outcome = outcome.await;
        presence.set_unread(0);
        presence.note_active(self.worker.node.wall_clock());
        outcome
    }

    /// More waits for the client than it may: says so, once, since the connection ends with it.
    #[cold]
    pub(super) fn exceed(&self, waiting: usize, limit: &str) -> io::Error {
        note_overrun(self.worker, self.presence, waiting, limit);
        io::Error::other("more waited for the client than client-output-buffer-limit allows")
    }

    /// Reads what the client sends though nothing is executed now, as much as may wait. Ready at the end of the stream.
    pub(super) fn poll_ahead(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let most = self.worker.config(|config| config.client_query_buffer_limit);
        // Who has not authenticated makes us keep nearly nothing.
        let most = if self.client.authenticated { most } else { most.min(READ_BUFFER_BYTES as u64) };
        while (self.input.len() as u64) < most {
            match ready!(self.poll_bytes(context))? {
                Wait::Over => return Poll::Ready(Ok(())),
                Wait::Bytes | Wait::Mail => self.has_read_ahead = true,
            }
            self.presence.note_active(self.worker.node.wall_clock());
            self.presence.set_input(self.input.count());
        }
        Poll::Pending
    }
}

//! What is posted to a client that waits for no answer: written where its task looks for bytes, without the steps that only
//! replies need.

use super::Connection;
use std::io;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<'_, S> {
    /// Writes what was posted to a client that has no reply to come, if nothing has to be waited for. False if something
    /// has, or if the client does not read as fast: the rest is a reply then, and `written` says where it begins.
    pub(super) fn write_mail(&mut self, context: &mut Context<'_>) -> io::Result<bool> {
        if self.worker.node.durability.replies_wait() || !self.reply.is_empty() {
            return Ok(false);
        }
        let mut is_pooled = false;
        let collected = self.presence.collect_mail(&mut self.reply, || {
            is_pooled = true;
            self.worker.take_buffer()
        });
        let Some(collected) = collected else { return Ok(true) };
        // Nobody looks at the limits: whoever posted it has.
        let mut written = 0;
        let Poll::Ready(outcome) = self.poll_write(context, &mut written) else {
            self.written = written;
            return Ok(false);
        };
        outcome?;
        self.worker.tally.bytes_out.add(written as u64);
        self.presence.note_active(collected.posted_at);
        let buffer = self.reply.replace_buffer(Vec::new());
        if is_pooled {
            self.worker.give_buffer(buffer);
        }
        Ok(true)
    }
}

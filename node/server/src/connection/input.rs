//! What a client has sent and a connection has not executed yet.

use crate::clients::InputBytes;
use crate::limits::{READ_BUFFER_BYTES, READ_BUFFER_GROWTH_MAX};
use crate::worker::Worker;

/// Bytes read and not yet executed.
#[derive(Default)]
pub(super) struct Input {
    /// All of it may be read into; empty while the connection waits for its next request.
    pub(super) bytes: Vec<u8>,
    /// Where what is left of it begins and ends.
    pub(super) start: usize,
    pub(super) end: usize,
    /// How many more bytes the request in front is known to need.
    pub(super) wanted: usize,
}

impl Input {
    /// What is left of it.
    pub(super) fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// How many bytes are left.
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    /// What is left of it, as others see it. Of a buffer that nothing is left in nothing is held for long.
    pub(super) fn count(&self) -> InputBytes {
        let waiting = self.len();
        let spare = if waiting == 0 { 0 } else { self.bytes.capacity() - waiting };
        InputBytes { waiting: waiting as u64, spare: spare as u64 }
    }

    /// Makes room for the next read: a pooled buffer at first, more for a request that is known to be larger.
    pub(super) fn make_room(&mut self, worker: &Worker) {
        if self.bytes.is_empty() {
            self.bytes = worker.take_read_buffer();
        }
        // Much that is left is moved only once as much before it is done: no byte is moved again and again.
        if self.start > 0 && (self.start >= self.len() || self.len() <= READ_BUFFER_BYTES) {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.len());
        }
        let free = self.bytes.len() - self.end;
        if free < self.wanted.min(READ_BUFFER_BYTES) || free == 0 {
            let growth = self
                .wanted
                .clamp(READ_BUFFER_BYTES, READ_BUFFER_GROWTH_MAX)
                .max(self.bytes.len().min(READ_BUFFER_GROWTH_MAX));
            self.bytes.resize(self.end + growth, 0);
        }
    }

    /// Gives the buffer back if nothing is left in it.
    #[inline]
    pub(super) fn release(&mut self, worker: &Worker) {
        if self.start == self.end {
            worker.give_read_buffer(std::mem::take(&mut self.bytes));
            (self.start, self.end, self.wanted) = (0, 0, 0);
        }
    }
}

//! What waits to be written on one lane of one link: bounded in bytes, one writer takes from it.

use crate::limits::FRAME_OVERHEAD_BYTES;
use bytes::Bytes;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Why a frame was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Full,
    Closed,
}

pub(crate) struct LaneQueue {
    state: Mutex<State>,
    filled: Notify,
    bytes_max: usize,
}

#[derive(Default)]
struct State {
    frames: Vec<Bytes>,
    /// Of what waits and of what the writer has in its hands.
    bytes: usize,
    /// Somebody was told that there is no room, and waits to hear that there is some again.
    awaited: bool,
    closed: bool,
}

impl LaneQueue {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { state: Mutex::default(), filled: Notify::new(), bytes_max }
    }

    /// Takes a frame while there is room; the last one may go over the bound by its own length.
    pub(crate) fn push(&self, frame: Bytes) -> Result<(), Refused> {
        let mut state = self.state();
        if state.closed {
            return Err(Refused::Closed);
        }
        if state.bytes >= self.bytes_max {
            state.awaited = true;
            return Err(Refused::Full);
        }
        state.bytes += cost(&frame);
        state.frames.push(frame);
        drop(state);
        self.filled.notify_one();
        Ok(())
    }

    /// Whether a frame would be taken. After a "no" the writer will report room.
    pub(crate) fn has_room(&self) -> bool {
        let mut state = self.state();
        let room = !state.closed && state.bytes < self.bytes_max;
        state.awaited |= !room;
        room
    }

    /// Waits for frames and moves them all to `taken`, which comes back filled; false when the queue is closed.
    pub(crate) async fn take(&self, taken: &mut Vec<Bytes>) -> bool {
        loop {
            {
                let mut state = self.state();
                if state.closed {
                    return false;
                }
                if !state.frames.is_empty() {
                    std::mem::swap(&mut state.frames, taken);
                    return true;
                }
            }
            self.filled.notified().await;
        }
    }

    /// Frames of this cost were handed to QUIC. True: somebody waits for room, and half of the queue is free.
    pub(crate) fn written(&self, cost: usize) -> bool {
        let mut state = self.state();
        state.bytes = state.bytes.saturating_sub(cost);
        let report = state.awaited && state.bytes <= self.bytes_max / 2;
        if report {
            state.awaited = false;
        }
        report
    }

    /// Drops what waits; nothing is taken any more.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        state.frames = Vec::new();
        drop(state);
        self.filled.notify_one();
    }

    pub(crate) fn bytes(&self) -> usize {
        self.state().bytes
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a frame counts in a queue.
pub(crate) fn cost(frame: &Bytes) -> usize {
    frame.len() + FRAME_OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_queue_refuses_and_reports_room_once_when_half_is_free() {
        let queue = LaneQueue::new(1000);
        let frame = Bytes::from(vec![0; 100]);
        let mut taken = 0;
        while queue.push(frame.clone()).is_ok() {
            taken += 1;
        }
        assert_eq!((taken, queue.bytes()), (7, 7 * cost(&frame)));
        assert!(!queue.has_room());
        let mut frames = Vec::new();
        assert!(queue.take(&mut frames).await);
        assert_eq!(frames.len(), 7);
        let reports: Vec<bool> = frames.iter().map(|frame| queue.written(cost(frame))).collect();
        assert_eq!(reports, [false, false, false, true, false, false, false]);
        assert!(queue.has_room());
    }

    #[tokio::test]
    async fn a_closed_queue_takes_nothing_and_wakes_its_writer() {
        let queue = LaneQueue::new(1000);
        queue.push(Bytes::from_static(b"lost")).unwrap();
        queue.close();
        assert_eq!(queue.push(Bytes::new()), Err(Refused::Closed));
        assert!(!queue.take(&mut Vec::new()).await);
    }
}

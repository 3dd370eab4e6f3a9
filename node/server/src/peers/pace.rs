//! How often chores come: five times a second while anything happens, once a second while nothing does, and sweeps when
//! there is something due. A node in which nothing happens costs next to nothing.

use super::{CERTIFICATES_INTERVAL, Peers, SWEEP_AGAIN};
use crdt::{Stamp, VersionVector};
use protocol::Event;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Between two rounds of metrics, status, dialing and membership chores.
pub(super) const HOUSEKEEPING_INTERVAL: Duration = Duration::from_millis(200);
/// The same, while nothing happens.
const CALM_INTERVAL: Duration = Duration::from_secs(1);
/// Between two sweeps of what has expired.
pub(super) const SWEEP_INTERVAL: Duration = Duration::from_millis(100);

/// What tells whether anything has happened.
#[derive(Debug)]
pub(super) struct Pace {
    /// The node's clock: every write here moves it.
    clock: Stamp,
    /// What has been applied of others; another one whenever it rises.
    applied: Arc<VersionVector>,
    /// Whether anything has happened since the last round of chores.
    is_stirred: bool,
    pub(super) housekeeping_at: Instant,
    pub(super) sweep_at: Instant,
}

/// Pauses of the thread while it has much to do: between the groups of a batch that is applied, and between its rounds.
///
/// SUBTLE: a thread that never pauses is interrupted by the system when its time is up, nearly always in the middle of a
/// group, and on a busy machine it is some 10 ms until it goes on. Whoever needs one of the group's keys waits for all of
/// that. A thread that sleeps now and then by itself, with nothing locked, has time again afterwards.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    /// When it was last looked, and for how long the thread has worked since its last rest.
    looked_ns: u64,
    worked: Duration,
}

/// It works for so long without a pause: a third of what Linux gives a thread at a time.
const TURN_MAX: Duration = Duration::from_millis(1);
/// The same while somebody waits for a key, who would find it locked again: groups often name the same few keys.
const AWAITED_TURN_MAX: Duration = Duration::from_micros(500);
/// A pause: some commands' time.
const PAUSE: Duration = Duration::from_micros(100);
/// Who has waited for news for so long has rested; what took less may have been the transport's work, which comes in between.
const REST_MIN: Duration = Duration::from_micros(500);

impl Pauses {
    /// News have come, at this time of the node's monotonic clock; they were waited for from `since_ns` on.
    pub(super) fn woken(&mut self, since_ns: u64, now_ns: u64) {
        if Duration::from_nanos(now_ns.saturating_sub(since_ns)) >= REST_MIN {
            self.worked = Duration::ZERO;
        }
        self.looked_ns = now_ns;
    }

    /// Pauses if that is due. Simulated time stands still while anything is done, so there it never is.
    pub(super) fn between_steps(&mut self, now_ns: u64, is_waited_for: bool) {
        self.worked += Duration::from_nanos(now_ns.saturating_sub(self.looked_ns));
        self.looked_ns = now_ns;
        if self.worked > if is_waited_for { AWAITED_TURN_MAX } else { TURN_MAX } {
            self.worked = Duration::ZERO;
            std::thread::sleep(PAUSE);
        }
    }
}

impl Pace {
    /// The first chores come after their intervals.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            clock: Stamp::ZERO,
            applied: Arc::default(),
            is_stirred: true,
            housekeeping_at: now + HOUSEKEEPING_INTERVAL,
            sweep_at: now + SWEEP_INTERVAL,
        }
    }

    /// Something happens: chores come soon.
    pub(super) fn stir(&mut self, now: Instant) {
        self.is_stirred = true;
        self.housekeeping_at = self.housekeeping_at.min(now + HOUSEKEEPING_INTERVAL);
        self.sweep_at = self.sweep_at.min(now + SWEEP_INTERVAL);
    }

    /// When something is due next.
    pub(super) fn next(&self) -> Instant {
        self.housekeeping_at.min(self.sweep_at)
    }
}

impl Peers {
    /// Notes whether anything has changed since it was last asked.
    pub(super) fn note_changes(&mut self, now: Instant) {
        let clock = self.node.keyspace.clock();
        let applied = self.node.keyspace.applied();
        if self.pace.clock != clock || !Arc::ptr_eq(&self.pace.applied, &applied) {
            (self.pace.clock, self.pace.applied) = (clock, applied);
            self.pace.stir(now);
        }
    }

    /// Does what is due, apart from sending and receiving.
    pub(super) fn do_chores(&mut self) {
        let now = Instant::now();
        if !self.has_read_all() {
            // Nothing goes over the whole keyspace before it is there.
            (self.pace.housekeeping_at, self.pace.sweep_at) = (now + HOUSEKEEPING_INTERVAL, now + SWEEP_INTERVAL);
            self.update_condition();
            self.update_metrics();
            self.status_now();
            self.node.console.beat();
            return;
        }
        if self.pace.sweep_at <= now {
            // A deadline that comes by a change stirs.
            let swept = self.sweep();
            let due_ms = swept.next.saturating_sub(self.node.wall_clock());
            self.pace.sweep_at = if swept.is_cut_short {
                Instant::now() + SWEEP_AGAIN
            } else {
                now + Duration::from_millis(due_ms).clamp(SWEEP_INTERVAL, CALM_INTERVAL)
            };
        }
        if self.pace.housekeeping_at <= now {
            let busy = std::mem::take(&mut self.pace.is_stirred) || self.is_waiting();
            self.pace.housekeeping_at = now + if busy { HOUSEKEEPING_INTERVAL } else { CALM_INTERVAL };
            if !busy {
                self.drain.rest(&self.node.keyspace);
                self.unpacked = Vec::new();
            }
            self.housekeeping();
            self.node.console.beat();
        }
        if self.certificates_at <= now {
            self.certificates_at = now + CERTIFICATES_INTERVAL;
            self.look_at_certificates();
        }
        self.pump();
    }

    /// Whether something is under way that moves on with time: somebody fills, or has not what was written here, or an
    /// operator waits.
    fn is_waiting(&self) -> bool {
        !self.filled || !self.has_number || !self.pending.is_empty() || !self.peers_have_all() || self.is_catching_up()
    }

    pub(super) fn is_catching_up(&self) -> bool {
        let reports = self.hub.peers().into_iter().filter_map(|peer| self.report_of(peer));
        reports.into_iter().any(|report| report.fed_by_peer || report.feeding_peer.is_some())
    }

    /// Notes that an event has come, unless it is one of those that come all the time.
    pub(super) fn note_event(&mut self, event: &Event) {
        match event {
            // What is applied is seen by the vector.
            Event::Apply(_)
            | Event::Messages { .. }
            | Event::CloseOpenBatch
            | Event::PeerVector { .. }
            | Event::Audit { .. } => {}
            Event::LinkReady { .. }
            | Event::CloseLink { .. }
            | Event::ReadJournal { .. }
            | Event::SessionRequested { .. }
            | Event::ReadSlots { .. }
            | Event::MergeSlots { .. }
            | Event::ReadListing { .. }
            | Event::MergeListing { .. }
            | Event::SessionFinished { .. }
            | Event::SessionAbandoned { .. }
            | Event::Membership { .. }
            | Event::NumberRequested { .. }
            | Event::NumberGranted { .. }
            | Event::NumberOverrun { .. }
            | Event::Request { .. }
            | Event::Response { .. }
            | Event::RequestFailed { .. }
            | Event::Filled
            | Event::Alarm(_) => self.pace.stir(Instant::now()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chores_that_were_put_off_come_soon_when_something_happens() {
        let now = Instant::now();
        let mut pace = Pace::new(now);
        (pace.housekeeping_at, pace.sweep_at) = (now + CALM_INTERVAL, now + CALM_INTERVAL);
        assert_eq!(pace.next(), now + CALM_INTERVAL);
        pace.stir(now);
        assert_eq!((pace.housekeeping_at, pace.sweep_at), (now + HOUSEKEEPING_INTERVAL, now + SWEEP_INTERVAL));
        // Whatever happens again and again does not put them off.
        pace.stir(now + SWEEP_INTERVAL / 2);
        assert_eq!((pace.housekeeping_at, pace.sweep_at), (now + HOUSEKEEPING_INTERVAL, now + SWEEP_INTERVAL));
    }
}

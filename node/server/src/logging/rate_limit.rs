//! How often each place in the code may write a log line. A place is a `tracing` call site, so the table is bounded by
//! the size of the program; there is a limit all the same.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::Metadata;
use tracing::callsite::Identifier;

/// Counts lines by place and second.
#[derive(Debug)]
pub struct RateLimit {
    burst: AtomicU64,
    suppressed: AtomicU64,
    places: Mutex<HashMap<Identifier, Place>>,
}

#[derive(Debug)]
struct Place {
    name: &'static str,
    since: Instant,
    lines: u64,
    unreported: u64,
}

impl RateLimit {
    /// Lets each place write `burst` lines a second.
    pub fn new(burst: u64) -> Self {
        Self { burst: AtomicU64::new(burst), suppressed: AtomicU64::new(0), places: Mutex::default() }
    }

    /// Changes how many lines a second each place may write.
    pub fn set_burst(&self, burst: u64) {
        self.burst.store(burst, Relaxed);
    }

    /// Whether a line of this place may be written now; if not it is counted.
    pub fn admits(&self, metadata: &Metadata<'static>) -> bool {
        metadata.target() == REPORT_TARGET || self.admits_at(metadata, Instant::now())
    }

    fn admits_at(&self, metadata: &Metadata<'static>, now: Instant) -> bool {
        let mut places = self.places.lock();
        if places.len() >= PLACES_MAX && !places.contains_key(&metadata.callsite()) {
            return true;
        }
        let place = places.entry(metadata.callsite()).or_insert_with(|| Place {
            name: metadata.name(),
            since: now,
            lines: 0,
            unreported: 0,
        });
        if now.saturating_duration_since(place.since) >= WINDOW {
            place.since = now;
            place.lines = 0;
        }
        if place.lines < self.burst.load(Relaxed) {
            place.lines += 1;
            return true;
        }
        place.unreported += 1;
        self.suppressed.fetch_add(1, Relaxed);
        false
    }

    /// How many lines of this place were suppressed since it was last asked, if any.
    pub fn take_unreported_of(&self, metadata: &Metadata<'static>) -> Option<u64> {
        let mut places = self.places.lock();
        let place = places.get_mut(&metadata.callsite())?;
        (place.unreported > 0).then(|| std::mem::take(&mut place.unreported))
    }

    /// How many lines were suppressed since it was last asked, by place.
    pub fn take_unreported(&self) -> Vec<(&'static str, u64)> {
        let mut places = self.places.lock();
        let silenced = places.values_mut().filter(|place| place.unreported > 0);
        let mut reports: Vec<_> = silenced.map(|place| (place.name, std::mem::take(&mut place.unreported))).collect();
        reports.sort_unstable();
        reports
    }

    /// How many lines were suppressed since the start.
    pub fn suppressed(&self) -> u64 {
        self.suppressed.load(Relaxed)
    }
}

/// The target of the lines that say what was suppressed; they are never suppressed themselves.
pub const REPORT_TARGET: &str = "server::logging::suppressed";
const WINDOW: Duration = Duration::from_secs(1);
/// The program has some hundred places. Beyond this many, new ones are not limited.
const PLACES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use tracing::callsite::Callsite;

    #[test]
    fn each_second_begins_anew() {
        let callsite = tracing::callsite! { name: "a place", kind: tracing::metadata::Kind::EVENT, fields: };
        let metadata = callsite.metadata();
        let (limit, start) = (RateLimit::new(2), Instant::now());
        let at = |millis| limit.admits_at(metadata, start + Duration::from_millis(millis));
        assert_eq!([at(0), at(1), at(2), at(999)], [true, true, false, false]);
        assert_eq!(limit.take_unreported_of(metadata), Some(2));
        assert_eq!(limit.take_unreported_of(metadata), None);
        assert_eq!([at(1000), at(1001), at(1002)], [true, true, false]);
        limit.set_burst(3);
        assert!(at(1003));
        assert_eq!(limit.take_unreported(), [("a place", 1)]);
        assert_eq!(limit.suppressed(), 3);
    }
}

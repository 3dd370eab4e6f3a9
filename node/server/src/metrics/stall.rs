//! Watches an event loop: how late does it run what is due? A worker that is late makes every client on it wait.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::groups::ConsoleMetrics;

/// Runs for ever on the event loop it watches, noting its delays. `work` is a number that changes when the loop does
/// something: one that does nothing cannot be late, and is looked at less often.
pub async fn watch_event_loop(console: &ConsoleMetrics, work: impl Fn() -> u64) {
    let mut done = work();
    let mut due = Instant::now();
    loop {
        sleep_until(due).await;
        let now = Instant::now();
        note_delay(console, now.saturating_duration_since(due));
        let before = std::mem::replace(&mut done, work());
        due = now + if done == before { TICK_IDLE } else { TICK };
    }
}

fn note_delay(console: &ConsoleMetrics, delay: Duration) {
    console.event_loop_stall_us_max.observe(u64::try_from(delay.as_micros()).unwrap_or(u64::MAX));
    if delay > STALL {
        console.event_loop_stalls.increment();
    }
}

/// Ten wake-ups a second cost nothing beside work, and a stall of interest outlasts several.
const TICK: Duration = Duration::from_millis(100);
/// On a machine with many cores, workers without work must not cost anything together.
const TICK_IDLE: Duration = Duration::from_millis(500);
/// Late enough for clients to notice within one region.
const STALL: Duration = Duration::from_millis(10);

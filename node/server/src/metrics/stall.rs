//! Watches an event loop: how late does it run what is due? A worker that is late makes every client on it wait.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::groups::ConsoleMetrics;

/// Runs for ever on the event loop it watches, noting its delays.
pub async fn watch_event_loop(console: &ConsoleMetrics) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let due = ticks.tick().await;
        note_delay(console, Instant::now().saturating_duration_since(due));
    }
}

fn note_delay(console: &ConsoleMetrics, delay: Duration) {
    console.event_loop_stall_us_max.observe(u64::try_from(delay.as_micros()).unwrap_or(u64::MAX));
    if delay > STALL {
        console.event_loop_stalls.increment();
    }
}

/// Ten wake-ups a second cost nothing that can be measured, and a stall of interest outlasts several.
const TICK: Duration = Duration::from_millis(100);
/// Late enough for clients to notice within one region.
const STALL: Duration = Duration::from_millis(10);

//! Waiting for a condition, with a deadline. The pause between two looks is the only sleep of these tests, and nothing
//! depends on its length.

use std::time::{Duration, Instant};

/// Long enough for anything that a loaded machine does in a test.
pub const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// Looks until there is something, and returns it. Panics with the last reason for nothing when time is over.
pub fn until<T>(what: &str, look: impl FnMut() -> Result<T, String>) -> T {
    within(PATIENCE, what, look)
}

/// As [`until`], with another time.
pub fn within<T>(time: Duration, what: &str, mut look: impl FnMut() -> Result<T, String>) -> T {
    let begin = Instant::now();
    loop {
        let reason = match look() {
            Ok(found) => return found,
            Err(reason) => reason,
        };
        assert!(begin.elapsed() < time, "waited {time:?} in vain until {what}: {reason}");
        pause(LOOK_INTERVAL);
    }
}

/// Lets time pass, for load that lasts a time and for looking again. Never to wait for something to have happened.
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}

//! The slow log: the latest commands that took long, for `SLOWLOG`. Nothing here is touched by a fast command.

use std::collections::VecDeque;
use std::time::Duration;

use parking_lot::Mutex;

/// One command that took long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlowCommand {
    /// Counts up from 0 since the node started.
    pub number: u64,
    /// When, in seconds since 1970.
    pub unix_seconds: u64,
    /// How long it took.
    pub micros: u64,
    /// The command and its arguments, cut short as Redis does.
    pub arguments: Vec<Vec<u8>>,
    /// Where the client was connected from.
    pub client_address: String,
    /// What the client called itself.
    pub client_name: String,
}

/// The latest commands that took long.
#[derive(Debug, Default)]
pub struct SlowLog(Mutex<Entries>);

#[derive(Debug, Default)]
struct Entries {
    next: u64,
    latest: VecDeque<SlowCommand>,
}

impl SlowLog {
    /// Notes a command; of what was noted before, `entries_max` less one stay.
    pub fn note(
        &self,
        unix_seconds: u64,
        taken: Duration,
        arguments: &[&[u8]],
        client_address: &str,
        client_name: &str,
        entries_max: u64,
    ) {
        let mut entries = self.0.lock();
        let entry = SlowCommand {
            number: entries.next,
            unix_seconds,
            micros: u64::try_from(taken.as_micros()).unwrap_or(u64::MAX),
            arguments: cut_short(arguments),
            client_address: client_address.to_owned(),
            client_name: client_name.to_owned(),
        };
        entries.next += 1;
        entries.latest.push_front(entry);
        entries.latest.truncate(usize::try_from(entries_max.min(ENTRIES_MAX)).unwrap_or(usize::MAX));
    }

    /// The latest, newest first.
    pub fn latest(&self, count: usize) -> Vec<SlowCommand> {
        self.0.lock().latest.iter().take(count).cloned().collect()
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.0.lock().latest.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all. Numbers go on.
    pub fn clear(&self) {
        self.0.lock().latest.clear();
    }
}

/// Redis' way: at most 32 arguments, the last of which says how many are left out, of at most 128 bytes each.
fn cut_short(arguments: &[&[u8]]) -> Vec<Vec<u8>> {
    let shown = if arguments.len() > ARGUMENTS_MAX { ARGUMENTS_MAX - 1 } else { arguments.len() };
    let mut short: Vec<Vec<u8>> = arguments[..shown]
        .iter()
        .map(|argument| {
            if argument.len() <= ARGUMENT_BYTES_MAX {
                return argument.to_vec();
            }
            let mut head = argument[..ARGUMENT_BYTES_MAX].to_vec();
            head.extend_from_slice(format!("... ({} more bytes)", argument.len() - ARGUMENT_BYTES_MAX).as_bytes());
            head
        })
        .collect();
    if arguments.len() > shown {
        short.push(format!("... ({} more arguments)", arguments.len() - shown).into_bytes());
    }
    short
}

/// Entries kept whatever `slowlog-max-len` says: 64 Ki of at most 5 KiB each.
const ENTRIES_MAX: u64 = 1 << 16;
const ARGUMENTS_MAX: usize = 32;
const ARGUMENT_BYTES_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    fn note(log: &SlowLog, arguments: &[&[u8]], entries_max: u64) {
        log.note(1_700_000_000, Duration::from_micros(12_345), arguments, "127.0.0.1:1", "me", entries_max);
    }

    #[test]
    fn only_the_latest_stay_and_numbers_go_on() {
        let log = SlowLog::default();
        (0..5).for_each(|_| note(&log, &[b"get", b"a"], 3));
        let numbers: Vec<u64> = log.latest(10).iter().map(|entry| entry.number).collect();
        assert_eq!(numbers, [4, 3, 2]);
        log.clear();
        assert!(log.is_empty());
        note(&log, &[b"get"], 3);
        assert_eq!(log.latest(1)[0].number, 5);
        note(&log, &[b"get"], 0);
        assert_eq!(log.len(), 0);
    }

    #[test]
    fn long_commands_are_cut_short_as_in_redis() {
        let log = SlowLog::default();
        let long = [b'x'; 130];
        let mut arguments: Vec<&[u8]> = vec![b"a"; 40];
        arguments[1] = &long;
        note(&log, &arguments, 3);
        let entry = &log.latest(1)[0];
        assert_eq!(entry.arguments.len(), 32);
        assert_eq!(entry.arguments[1], [&[b'x'; 128][..], b"... (2 more bytes)"].concat());
        assert_eq!(entry.arguments[31], b"... (9 more arguments)");
        assert_eq!(entry.micros, 12_345);
    }
}

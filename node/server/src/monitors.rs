//! `MONITOR`: clients that are shown every command this node executes.
//!
//! What that may cost is bounded. So many lines a second are written (`monitor-lines-max`); how many commands were left out
//! beyond that is told in a line of its own, once a second. Long words are cut short. A client that does not read what it
//! is shown loses its connection, never the node its memory.

use crate::clients::{Marks, Presence};
use crate::config::OutputLimits;
use crate::limits::{MONITOR_BYTES_MAX, MONITOR_WORD_BYTES_MAX, MONITOR_WORDS_MAX};
use crate::outbox::Message;
use crdt::UnixMillis;
use parking_lot::Mutex;
use std::fmt::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Who is shown commands.
#[derive(Debug, Default)]
pub struct Monitors {
    is_watched: AtomicBool,
    left_out: AtomicU64,
    room: Mutex<Room>,
}

#[derive(Debug, Default)]
struct Room {
    watchers: Vec<Arc<Presence>>,
    /// The second that is counted, since 1970.
    second: u64,
    lines: u64,
    left_out: u64,
}

/// A command that is about to be executed.
#[derive(Clone, Copy)]
pub struct Shown<'s> {
    /// When.
    pub now: UnixMillis,
    /// In which database.
    pub database: u8,
    /// Where it comes from: an address, or `lua`.
    pub source: &'s dyn fmt::Display,
    /// Its words.
    pub words: &'s [&'s [u8]],
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shown").field("now", &self.now).field("words", &self.words.len()).finish_non_exhaustive()
    }
}

impl Monitors {
    /// Whether anybody is shown commands.
    #[inline]
    pub fn is_watched(&self) -> bool {
        self.is_watched.load(Ordering::Relaxed)
    }

    /// How many commands were not shown because there were too many in their second.
    pub fn left_out(&self) -> u64 {
        self.left_out.load(Ordering::Relaxed)
    }

    /// A client wants to be shown commands from now on.
    pub fn enter(&self, presence: &Arc<Presence>) {
        let mut room = self.room.lock();
        if !room.watchers.iter().any(|watcher| watcher.id == presence.id) {
            room.watchers.push(Arc::clone(presence));
            presence.mark(Marks::MONITOR, true);
        }
        self.is_watched.store(true, Ordering::Relaxed);
    }

    /// A client wants that no longer.
    pub fn leave(&self, client: u64) {
        let mut room = self.room.lock();
        room.watchers.retain(|watcher| {
            if watcher.id == client {
                watcher.mark(Marks::MONITOR, false);
            }
            watcher.id != client
        });
        self.is_watched.store(!room.watchers.is_empty(), Ordering::Relaxed);
    }

    /// Shows a command to all who want it, unless there were more than `lines_max` in this second.
    #[cold]
    pub fn show(&self, shown: &Shown<'_>, lines_max: u64, limits: &OutputLimits) {
        let mut room = self.room.lock();
        let second = shown.now / 1000;
        // Workers look at the clock before they come here, so that one of them may still be in the second before.
        if second != room.second && second + 1 != room.second {
            let left_out = std::mem::take(&mut room.left_out);
            (room.second, room.lines) = (second, 0);
            if left_out > 0 {
                let text = left_out.to_string();
                let words: [&[u8]; 2] = [LEFT_OUT, text.as_bytes()];
                room.post(
                    &line(&Shown { words: &words, source: &"pelago", database: 0, now: shown.now }),
                    limits,
                    shown.now,
                );
            }
        }
        if room.lines >= lines_max {
            room.left_out += 1;
            self.left_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        room.lines += 1;
        room.post(&line(shown), limits, shown.now);
        self.is_watched.store(!room.watchers.is_empty(), Ordering::Relaxed);
    }
}

/// What stands in the place of a command in the line that says how many were left out.
const LEFT_OUT: &[u8] = b"monitor-lines-max: commands left out";

impl Room {
    fn post(&mut self, line: &str, limits: &OutputLimits, now: UnixMillis) {
        let write = |reply: &mut resp::Reply| reply.simple(line);
        let mut message = Message::new(&write);
        self.watchers.retain(|watcher| {
            let (waiting, _) = watcher.posted();
            if waiting > MONITOR_BYTES_MAX {
                tracing::warn!(
                    client = watcher.id, address = %watcher.address, waiting,
                    "a client does not read what MONITOR shows it: its connection is closed"
                );
                watcher.end();
                return false;
            }
            watcher.post(&mut message, limits, now)
        });
    }
}

/// A line as Redis writes it.
fn line(shown: &Shown<'_>) -> String {
    let (seconds, micros) = (shown.now / 1000, shown.now % 1000 * 1000);
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = write!(text, "{seconds}.{micros:06} [{} {}]", shown.database, shown.source);
    for word in shown.words.iter().take(MONITOR_WORDS_MAX) {
        text.push_str(" \"");
        quote(&word[..word.len().min(MONITOR_WORD_BYTES_MAX)], &mut text);
        text.push('"');
        if word.len() > MONITOR_WORD_BYTES_MAX {
            let _ = write!(text, "... ({} more bytes)", word.len() - MONITOR_WORD_BYTES_MAX);
        }
    }
    if shown.words.len() > MONITOR_WORDS_MAX {
        let _ = write!(text, " ... ({} more words)", shown.words.len() - MONITOR_WORDS_MAX);
    }
    text
}

fn quote(bytes: &[u8], text: &mut String) {
    for byte in bytes {
        match byte {
            b'\\' | b'"' => {
                text.push('\\');
                text.push(char::from(*byte));
            }
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\t' => text.push_str("\\t"),
            0x07 => text.push_str("\\a"),
            0x08 => text.push_str("\\b"),
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::Clients;
    use crate::limits::OUTPUT_BYTES_FLUSH;
    use resp::{Reply, Version};
    use std::net::{Ipv4Addr, SocketAddr};

    const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

    fn shown<'s>(now: UnixMillis, words: &'s [&'s [u8]]) -> Shown<'s> {
        Shown { now, database: 3, source: &"lua", words }
    }

    fn received(presence: &Presence) -> String {
        let mut reply = Reply::new(Version::Resp2);
        presence.collect_all_mail(&mut reply);
        String::from_utf8_lossy(reply.bytes()).into_owned()
    }

    #[test]
    fn commands_are_shown_as_redis_shows_them() {
        let words: [&[u8]; 3] = [b"SET", b"a \"b\"\\", b"\x00\n\r\t\x07\x08\xffz"];
        let text = line(&shown(1_339_518_083_107, &words));
        assert_eq!(text, r#"1339518083.107000 [3 lua] "SET" "a \"b\"\\" "\x00\n\r\t\a\b\xffz""#);
        let long = vec![b'v'; MONITOR_WORD_BYTES_MAX + 5];
        assert!(line(&shown(1, &[&long])).ends_with("vv\"... (5 more bytes)"));
        let many: Vec<&[u8]> = vec![b"w"; MONITOR_WORDS_MAX + 7];
        assert!(line(&shown(1, &many)).ends_with("\"w\" ... (7 more words)"));
    }

    #[test]
    fn a_clock_that_was_read_a_little_earlier_begins_no_second() {
        let (clients, monitors, limits) = (Clients::default(), Monitors::default(), OutputLimits::default());
        let presence = clients.enter(ADDRESS, ADDRESS, 0, 9).unwrap();
        monitors.enter(&presence);
        for _ in 0..5 {
            for now in [2_000, 1_999] {
                monitors.show(&shown(now, &[b"PING"]), 3, &limits);
            }
        }
        assert_eq!((received(&presence).lines().count(), monitors.left_out()), (3, 7));
        // A clock that was set back does not leave everybody without lines.
        monitors.show(&shown(500, &[b"PING"]), 3, &limits);
        assert_eq!(received(&presence).lines().count(), 2);
    }

    #[test]
    fn no_more_lines_are_written_in_a_second_than_may_and_what_is_left_out_is_told() {
        let (clients, monitors, limits) = (Clients::default(), Monitors::default(), OutputLimits::default());
        let presence = clients.enter(ADDRESS, ADDRESS, 0, 9).unwrap();
        assert!(!monitors.is_watched());
        monitors.enter(&presence);
        monitors.enter(&presence);
        assert!(monitors.is_watched());
        for _ in 0..5 {
            monitors.show(&shown(1_000, &[b"PING"]), 2, &limits);
        }
        monitors.show(&shown(2_000, &[b"GET", b"k"]), 2, &limits);
        let lines = received(&presence);
        let expected = "+1.000000 [3 lua] \"PING\"\r\n+1.000000 [3 lua] \"PING\"\r\n\
                        +2.000000 [0 pelago] \"monitor-lines-max: commands left out\" \"3\"\r\n\
                        +2.000000 [3 lua] \"GET\" \"k\"\r\n";
        assert_eq!((lines.as_str(), monitors.left_out()), (expected, 3));
        monitors.leave(presence.id);
        assert!(!monitors.is_watched());
    }

    #[test]
    fn who_does_not_read_is_ended_and_who_has_gone_is_forgotten() {
        let (clients, monitors, limits) = (Clients::default(), Monitors::default(), OutputLimits::default());
        let presence = clients.enter(ADDRESS, ADDRESS, 0, 9).unwrap();
        monitors.enter(&presence);
        let word = [b'v'; MONITOR_WORD_BYTES_MAX];
        let mut shows = 0;
        while monitors.is_watched() {
            monitors.show(&shown(1_000, &[&word]), u64::MAX, &limits);
            shows += 1;
        }
        assert!(presence.is_ended() && presence.posted().0 <= MONITOR_BYTES_MAX + OUTPUT_BYTES_FLUSH as u64);
        assert!(shows as u64 * MONITOR_WORD_BYTES_MAX as u64 > MONITOR_BYTES_MAX / 2);
        let gone = clients.enter(ADDRESS, ADDRESS, 0, 9).unwrap();
        monitors.enter(&gone);
        clients.leave(gone.id);
        monitors.show(&shown(2_000, &[b"PING"]), 9, &limits);
        assert!(!monitors.is_watched());
    }
}

//! What users were refused, the last of it first: `ACL LOG`. The same refusal again within a minute is counted where it is.

use crdt::UnixMillis;
use std::collections::VecDeque;

/// What was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// To become a user.
    Auth,
    /// A command.
    Command,
    /// A key.
    Key,
    /// A channel.
    Channel,
}

impl Reason {
    /// Its name in `ACL LOG`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Command => "command",
            Self::Key => "key",
            Self::Channel => "channel",
        }
    }
}

/// Where it was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// To a client.
    TopLevel,
    /// In a transaction.
    Transaction,
    /// To a script.
    Script,
}

impl Place {
    /// Its name in `ACL LOG`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::TopLevel => "toplevel",
            Self::Transaction => "multi",
            Self::Script => "lua",
        }
    }
}

/// One refusal, and how often there was the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What.
    pub reason: Reason,
    /// Where.
    pub place: Place,
    /// The command, key or channel, or its beginning.
    pub object: Vec<u8>,
    /// Whom.
    pub user: Vec<u8>,
    /// How often.
    pub count: u64,
    /// When last.
    pub at: UnixMillis,
    /// The client that met it last, as `CLIENT LIST` shows it.
    pub client: String,
}

impl Refusal {
    fn is_same_as(&self, other: &Self) -> bool {
        (self.reason, self.place) == (other.reason, other.place)
            && self.object == other.object
            && self.user == other.user
            && other.at.abs_diff(self.at) <= SAME_WITHIN_MS
    }
}

/// The log of refusals.
#[derive(Debug, Default)]
pub struct AccessLog {
    /// The last one first.
    entries: VecDeque<Refusal>,
}

impl AccessLog {
    /// Notes one, and forgets the oldest beyond `entries_max`.
    pub fn note(&mut self, mut refusal: Refusal, entries_max: usize) {
        let known = self.entries.iter().take(LOOKED_THROUGH).position(|known| known.is_same_as(&refusal));
        if let Some(known) = known.and_then(|at| self.entries.remove(at)) {
            refusal.count += known.count;
        }
        self.entries.push_front(refusal);
        self.entries.truncate(entries_max);
    }

    /// The refusals, the last one first.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Refusal> {
        self.entries.iter()
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        self.entries.clear();
    }
}

/// Refusals of a minute are one entry.
const SAME_WITHIN_MS: u64 = 60_000;
/// Among so many of the last entries the same one is looked for, as in Redis: a refusal costs no more in a long log.
const LOOKED_THROUGH: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(object: &str, at: UnixMillis) -> Refusal {
        let (reason, place, client) = (Reason::Key, Place::TopLevel, format!("at {at}"));
        Refusal { reason, place, object: object.into(), user: b"u".to_vec(), count: 1, at, client }
    }

    fn objects(log: &AccessLog) -> Vec<(String, u64)> {
        log.entries().map(|entry| (String::from_utf8_lossy(&entry.object).into_owned(), entry.count)).collect()
    }

    #[test]
    fn the_same_refusal_within_a_minute_is_counted_and_comes_to_the_front() {
        let mut log = AccessLog::default();
        for (object, at) in [("a", 0), ("b", 1), ("a", 60_000), ("a", 130_000)] {
            log.note(refusal(object, at), 9);
        }
        assert_eq!(objects(&log), [("a".to_owned(), 1), ("a".to_owned(), 2), ("b".to_owned(), 1)]);
        assert_eq!(log.entries().nth(1).unwrap().client, "at 60000");
    }

    #[test]
    fn the_log_forgets_the_oldest_and_everything_when_it_is_reset() {
        let mut log = AccessLog::default();
        for object in ["a", "b", "c"] {
            log.note(refusal(object, 0), 2);
        }
        assert_eq!(objects(&log), [("c".to_owned(), 1), ("b".to_owned(), 1)]);
        log.note(refusal("d", 0), 0);
        assert_eq!(log.entries().len(), 0);
        log.note(refusal("d", 0), 1);
        log.clear();
        assert_eq!(log.entries().len(), 0);
    }
}

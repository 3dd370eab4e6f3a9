//! Which backups are open, and until when. Decides only; time comes in as an argument.

use crate::limits::BACKUPS_MAX;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The open backups, by their tokens.
#[derive(Debug)]
pub(super) struct Table<T> {
    open: BTreeMap<String, Entry<T>>,
}

#[derive(Debug)]
struct Entry<T> {
    what: T,
    lease: Duration,
    until: Instant,
}

/// A backup that is over.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ended<T> {
    pub token: String,
    /// It is let go when this is.
    pub what: T,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { open: BTreeMap::new() }
    }
}

impl<T: Clone> Table<T> {
    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether no other may begin.
    pub(super) fn is_full(&self) -> bool {
        self.open.len() >= BACKUPS_MAX
    }

    /// Whether this is so of any of them.
    pub(super) fn any(&self, is_so: impl Fn(&T) -> bool) -> bool {
        self.open.values().any(|entry| is_so(&entry.what))
    }

    /// One begins, and lives as long as its lease from now.
    pub(super) fn begin(&mut self, token: String, what: T, lease: Duration, now: Instant) {
        self.open.insert(token, Entry { what, lease, until: now + lease });
    }

    /// One is read: it lives as long as its lease from now.
    pub(super) fn renew(&mut self, token: &str, now: Instant) -> Option<T> {
        let entry = self.open.get_mut(token)?;
        entry.until = now + entry.lease;
        Some(entry.what.clone())
    }

    /// One is done.
    pub(super) fn end(&mut self, token: &str) -> Option<T> {
        self.open.remove(token).map(|entry| entry.what)
    }

    /// Ends those whose lease is over.
    pub(super) fn end_overdue(&mut self, now: Instant) -> Vec<Ended<T>> {
        let over = self.open.extract_if(.., |_, entry| entry.until <= now);
        over.map(|(token, entry)| Ended { token, what: entry.what }).collect()
    }

    /// Ends all of them.
    pub(super) fn clear(&mut self) -> Vec<Ended<T>> {
        std::mem::take(&mut self.open).into_iter().map(|(token, entry)| Ended { token, what: entry.what }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(60);

    #[test]
    fn a_lease_ends_unless_somebody_reads() {
        let begin = Instant::now();
        let mut table = Table::default();
        table.begin("a".to_owned(), 1, LEASE, begin);
        table.begin("b".to_owned(), 2, LEASE, begin);
        assert_eq!(table.renew("a", begin + LEASE / 2), Some(1));
        assert_eq!(table.end_overdue(begin + LEASE / 2), []);
        assert_eq!(table.end_overdue(begin + LEASE), [Ended { token: "b".to_owned(), what: 2 }]);
        assert_eq!((table.renew("b", begin + LEASE), table.end("b")), (None, None));
        assert_eq!(table.end_overdue(begin + LEASE / 2 + LEASE), [Ended { token: "a".to_owned(), what: 1 }]);
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn so_many_are_open_at_once_and_no_more() {
        let now = Instant::now();
        let mut table = Table::default();
        for number in 0..BACKUPS_MAX {
            assert!(!table.is_full());
            table.begin(number.to_string(), number, LEASE, now);
        }
        assert!(table.is_full());
        assert_eq!(table.end("0"), Some(0));
        assert!(!table.is_full());
        assert_eq!(table.clear().len(), BACKUPS_MAX - 1);
    }
}

//! How far a group is in its stream, as a number: Redis' counter of entries read, and what it says about those left.
//!
//! The counter is exact while no entry in what is still to be read was deleted from the middle; else it can be told again
//! only at the ends of the stream.

use crdt::StreamId;

/// What is known of a stream's ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamCounts {
    /// How many entries there are.
    pub length: u64,
    /// How many there ever were.
    pub added: u64,
    /// The first one's id.
    pub first: StreamId,
    /// The greatest id that there ever was.
    pub last: StreamId,
    /// The greatest id that was deleted one by one.
    pub max_deleted: StreamId,
}

impl StreamCounts {
    /// How many entries there ever were up to this id, if that can be told.
    pub fn rank_of(&self, id: StreamId) -> Option<u64> {
        if self.added == 0 {
            return Some(0);
        }
        if self.length == 0 && id < self.last || id == self.last {
            return Some(self.added);
        }
        if id > self.last {
            return None;
        }
        let is_whole = self.max_deleted == StreamId::ZERO || self.max_deleted < self.first;
        let before_first = self.added.saturating_sub(self.length);
        match id.cmp(&self.first) {
            std::cmp::Ordering::Less if is_whole => Some(before_first),
            std::cmp::Ordering::Equal if is_whole => Some(before_first + 1),
            _ => None,
        }
    }

    /// The counter of a group that has come to an entry with this id.
    pub fn after_reading(&self, counter: Option<u64>, id: StreamId) -> Option<u64> {
        match counter {
            Some(read) if !self.has_gap_from(id) => Some(read.saturating_add(1)),
            _ if self.added > 0 => self.rank_of(id),
            _ => counter,
        }
    }

    /// How many entries a group still has before it that has come to `id`, if that can be told. Redis may answer a
    /// negative number where a client has set the counter.
    pub fn lag(&self, counter: Option<u64>, id: StreamId) -> Option<i64> {
        let behind = |read: u64| i64::try_from(i128::from(self.added) - i128::from(read)).ok();
        match counter {
            _ if self.added == 0 => Some(0),
            Some(read) if !self.has_gap_from(id) => behind(read),
            _ => self.rank_of(id).and_then(behind),
        }
    }

    /// Whether an entry with this id or a greater one was deleted.
    fn has_gap_from(&self, id: StreamId) -> bool {
        self.length > 0 && self.max_deleted != StreamId::ZERO && id <= self.max_deleted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64) -> StreamId {
        StreamId::new(ms, 0)
    }

    #[test]
    fn a_rank_is_known_at_the_ends_of_a_stream() {
        let whole = StreamCounts { length: 3, added: 5, first: id(3), last: id(5), max_deleted: StreamId::ZERO };
        for (ms, rank) in [(1, Some(2)), (3, Some(3)), (4, None), (5, Some(5)), (6, None)] {
            assert_eq!(whole.rank_of(id(ms)), rank, "{ms}");
        }
        let holed = StreamCounts { max_deleted: id(4), ..whole };
        assert_eq!((holed.rank_of(id(1)), holed.rank_of(id(3)), holed.rank_of(id(5))), (None, None, Some(5)));
        let trimmed = StreamCounts { length: 0, first: StreamId::ZERO, ..whole };
        assert_eq!((trimmed.rank_of(id(2)), StreamCounts::default().rank_of(id(2))), (Some(5), Some(0)));
    }

    #[test]
    fn a_counter_goes_on_until_a_gap_and_is_found_again_at_the_end() {
        let counts = StreamCounts { length: 3, added: 4, first: id(1), last: id(4), max_deleted: id(2) };
        assert_eq!(counts.after_reading(Some(0), id(1)), None);
        assert_eq!(counts.after_reading(None, id(3)), None);
        assert_eq!(counts.after_reading(Some(2), id(3)), Some(3));
        assert_eq!(counts.after_reading(None, id(4)), Some(4));
        assert_eq!(counts.after_reading(Some(u64::MAX), id(4)), Some(u64::MAX));
        assert_eq!(
            (counts.lag(None, id(4)), counts.lag(Some(2), id(1)), counts.lag(Some(3), id(3))),
            (Some(0), None, Some(1))
        );
        assert_eq!(counts.lag(Some(9), id(3)), Some(-5));
    }
}

//! One end of a list or of a stream is removed in one operation, and its chunks are taken out as they are.
//!
//! The operation says where the range ends and how far its author had seen others: what that covers goes, and what was put
//! there meanwhile stays. So it is small however much it removes. Who carries it out finds the range by counting chunks,
//! cuts it off, and has it freed beside the clients. What it takes out of the slot's digest is found by looking at what is
//! less: at what goes, or, if the key has a summary, at what stays. That is linear in the smaller part; so is keeping what
//! was put meanwhile.

use crate::body::KeyBody;
use crate::garbage::Waste;
use crate::hash::{digest_of_contribution, digest_of_dot, digest_of_element};
use crate::in_place::InPlace;
use crate::merge::{Site, observed};
use crate::sequence::{Piece, Sequence};
use crate::shared::Shared;
use crate::stream::Stream;
use crate::summary::{LARGE_ELEMENTS_MIN, digest_of_lives};
use crdt::{Kind, Position, Reach, Stamp, StreamId, VersionVector};
use smallvec::SmallVec;
use std::ops::Range;

/// So many elements at an end are removed by one operation, and fewer each by its name: then that takes no longer than
/// writing a chunk anew. Builds for tests do it for few.
pub const RANGE_ELEMENTS_MIN: usize = if cfg!(debug_assertions) { 3 } else { 256 };

/// Where a range ends, as an operation says it.
pub type RangeEnd<'b> = (Kind, Reach, &'b [u8]);

impl InPlace<'_, Sequence> {
    /// Removes those of these ranges that reach an end of the list and are worth it. The ranges are in order, do not overlap
    /// and leave some elements. Returns the others, as they are numbered then.
    pub(crate) fn cut_ends(&mut self, ranges: &[Range<usize>]) -> SmallVec<[Range<usize>; 2]> {
        let (mut rest, length): (SmallVec<[Range<usize>; 2]>, usize) = (ranges.into(), self.value.len());
        let is_worth = |range: &Range<usize>| range.len() >= RANGE_ELEMENTS_MIN;
        let mut cut = SmallVec::<[Sequence; 2]>::new();
        if let Some(back) = rest.last().filter(|range| range.end == length && is_worth(range)).cloned()
            && let Some(covered) = self.covered(false, self.value.items_from(back.start).map(|item| item.dot))
        {
            let name = self.value.items_from(back.start).next().map(|item| item.position().name());
            cut.push(self.value.cut(Reach::From, back.len()));
            self.log_range(Reach::From, &name.unwrap_or_default(), covered);
            rest.pop();
        }
        if let Some(front) = rest.first().filter(|range| range.start == 0 && is_worth(range)).cloned()
            && let Some(covered) = self.covered(false, self.value.items_from(0).take(front.end).map(|item| item.dot))
        {
            let name = self.value.items_from(front.end - 1).next().map(|item| item.position().name());
            cut.push(self.value.cut(Reach::UpTo, front.len()));
            self.log_range(Reach::UpTo, &name.unwrap_or_default(), covered);
            rest.remove(0);
            rest.iter_mut().for_each(|range| *range = range.start - front.end..range.end - front.end);
        }
        let gone = cut.iter().map(Sequence::len).sum();
        let of_key = self.digest_of_key().filter(|_| self.value.len() < gone);
        self.turn_cut(match of_key {
            Some(of_key) => of_key ^ digest_of_list(self.value, self.key_digest()),
            None => cut.iter().fold(0, |sum, part| sum ^ digest_of_list(part, self.key_digest())),
        });
        cut.into_iter().for_each(|part| free_list(self.shared(), part));
        rest
    }
}

impl InPlace<'_, Stream> {
    /// Removes so many entries from the front. False, and nothing done, if that is not worth it or not to be said so. What
    /// only the entries tell is in the head.
    pub(crate) fn cut_front(&mut self, count: usize) -> bool {
        if count < RANGE_ELEMENTS_MIN {
            return false;
        }
        let entries = self.value.entries();
        let Some((last, dot)) = entries.dot_of_number(count - 1) else { return false };
        // What a command appends is the last entry, so it is there or nowhere in the range.
        let Some(covered) = self.covered(dot != self.stamp, entries.items().take(count).map(|item| item.dot)) else {
            return false;
        };
        let part = self.value.cut(last, count);
        self.log_range(Reach::UpTo, &last.name(), covered);
        let of_key = self.digest_of_key().filter(|_| self.value.len() < part.len());
        self.turn_cut(match of_key {
            Some(of_key) => of_key ^ digest_of_stream(self.value, self.key_digest()),
            None => digest_of_stream(&part, self.key_digest()),
        });
        free_stream(self.shared(), part);
        true
    }
}

impl Site<'_> {
    /// Removes the dots of one end of a list or stream that a change has observed.
    pub(crate) fn clear_range(
        &mut self,
        body: &mut KeyBody,
        (kind, reach, bound): RangeEnd<'_>,
        stamp: Stamp,
        covered: &VersionVector,
    ) {
        let of_key = body.summary.as_ref().map(|summary| {
            let lives = digest_of_lives(&body.lives, self.key_digest);
            summary.digest() ^ self.begun ^ self.memory.digest ^ lives
        });
        match kind {
            Kind::List => {
                let (Some(list), Some(position)) = (&mut body.list, Position::of_name(bound)) else { return };
                let is_all = body.summary.as_ref().is_some_and(|summary| summary.is_observed(stamp, covered));
                self.clear_list_range(list, (of_key, is_all), (reach, &position), |dot| observed(dot, stamp, covered));
            }
            Kind::Stream => {
                let (Some(stream), Some(id)) = (&mut body.stream, StreamId::of_name(bound)) else { return };
                // The head that the change has put before is in no range, and what it has appended is the last entry of its own.
                let appended = stream.find(id).ok().and_then(|at| stream.entries().item(at)).map(|item| item.dot);
                let is_all = appended != Some(stamp)
                    && body.summary.as_ref().is_some_and(|summary| summary.is_observed_but_for(stamp, covered));
                self.clear_stream_range(stream, (of_key, is_all), (reach, id), |dot| observed(dot, stamp, covered));
            }
            Kind::String | Kind::Hash | Kind::Set | Kind::SortedSet => {}
        }
    }

    /// `of_key` is what the collection adds to the digest, if that is known; `is_all` says that all of it goes that is in the
    /// range.
    fn clear_list_range(
        &mut self,
        list: &mut Sequence,
        (of_key, is_all): (Option<u64>, bool),
        (reach, bound): (Reach, &Position),
        goes: impl Fn(Stamp) -> bool,
    ) {
        if list.has_wide() {
            let is_within = |name: &[u8]| match reach {
                Reach::UpTo => Position::of_name(name).is_some_and(|position| position <= *bound),
                Reach::From => Position::of_name(name).is_some_and(|position| position >= *bound),
            };
            return list.retain(|name, piece| !is_within(name) || self.keeps(Kind::List, name, piece, &goes));
        }
        let mut part = list.cut(reach, list.count_to(reach, bound));
        if is_all || part.items().all(|item| goes(item.dot)) {
            self.memory.digest ^= match of_key.filter(|_| list.len() < part.len()) {
                Some(of_key) => of_key ^ digest_of_list(list, self.key_digest),
                None => digest_of_list(&part, self.key_digest),
            };
            return free_list(self.shared, part);
        }
        part.retain(|name, piece| self.keeps(Kind::List, name, piece, &goes));
        for item in part.items() {
            if let Err(at) = list.find(&item.position()) {
                list.insert(at, &item);
            }
        }
    }

    fn clear_stream_range(
        &mut self,
        stream: &mut Stream,
        (of_key, is_all): (Option<u64>, bool),
        (reach, bound): (Reach, StreamId),
        goes: impl Fn(Stamp) -> bool,
    ) {
        let entries = stream.entries();
        let is_simple = reach == Reach::UpTo && !stream.has_wide();
        let count = if is_simple { entries.count_up_to(bound) } else { 0 };
        if is_simple && (is_all || entries.items().take(count).all(|item| goes(item.dot))) {
            let part = stream.cut(bound, count);
            self.memory.digest ^= match of_key.filter(|_| stream.len() < part.len()) {
                Some(of_key) => of_key ^ digest_of_stream(stream, self.key_digest),
                None => digest_of_stream(&part, self.key_digest),
            };
            return free_stream(self.shared, part);
        }
        let is_within = |name: &[u8]| match reach {
            Reach::UpTo => StreamId::of_name(name).is_some_and(|id| id <= bound),
            Reach::From => StreamId::of_name(name).is_some_and(|id| id >= bound),
        };
        stream.retain(|name, piece| !is_within(name) || self.keeps(Kind::Stream, name, piece, &goes));
    }

    /// Whether anything of an element stays when the dots go for which `goes` says so.
    fn keeps(&mut self, kind: Kind, name: &[u8], piece: Piece<'_>, goes: &impl Fn(Stamp) -> bool) -> bool {
        let digest = digest_of_element(self.key_digest, kind as u8, name);
        match piece {
            Piece::Plain(dot, value) => {
                let is_gone = goes(dot);
                self.memory.digest ^= if is_gone { digest_of_dot(digest, dot, value) } else { 0 };
                !is_gone
            }
            Piece::Wide(element) => {
                element.siblings.retain(|(dot, value)| {
                    let is_gone = goes(*dot);
                    self.memory.digest ^= if is_gone { digest_of_dot(digest, *dot, value) } else { 0 };
                    !is_gone
                });
                !element.is_empty()
            }
        }
    }
}

/// What a list adds to its slot's digest. No element of it was set by more than one write.
fn digest_of_list(list: &Sequence, key_digest: u64) -> u64 {
    let mut name = Vec::with_capacity(16);
    list.items().fold(0, |sum, item| {
        let digest = digest_of_element(key_digest, Kind::List as u8, item.name_into(&mut name));
        sum ^ digest_of_dot(digest, item.dot, &item.text().unwrap_or_default())
    })
}

/// What a stream adds to its slot's digest.
fn digest_of_stream(stream: &Stream, key_digest: u64) -> u64 {
    let mut sum = 0;
    stream.each_element(|name, element| {
        let digest = digest_of_element(key_digest, Kind::Stream as u8, name);
        element.siblings.iter().for_each(|(dot, value)| sum ^= digest_of_dot(digest, *dot, value));
        element.contributions.iter().for_each(|contribution| sum ^= digest_of_contribution(digest, contribution));
    });
    sum
}

/// Frees what was cut off: a little at once.
fn free_list(shared: &Shared, part: Sequence) {
    if part.len() >= LARGE_ELEMENTS_MIN {
        shared.garbage.put(Waste::List(Box::new(part)));
    }
}

fn free_stream(shared: &Shared, part: Stream) {
    if part.len() >= LARGE_ELEMENTS_MIN {
        shared.garbage.put(Waste::Stream(Box::new(part)));
    }
}

#[cfg(test)]
mod tests;

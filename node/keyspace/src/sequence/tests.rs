//! Lists as chunks against a plain vector, through everything that is done to them.

use super::chunk::{CHUNK_BYTES_MAX, CHUNK_ITEMS_MAX};
use super::*;
use crate::usage::next_random;
use crdt::{Contribution, Number};

fn stamp(clock: u64, author: u64) -> Stamp {
    Stamp::from_bits(clock << 10 | author)
}

/// The model: names with their elements in order.
type Model = Vec<(Position, Element)>;

struct Pair {
    list: Sequence,
    model: Model,
    clock: u64,
    word: u64,
    /// One author pushes integers most of the time, so that there are runs.
    runs: bool,
}

impl Pair {
    fn new(seed: u64) -> Self {
        Self { list: Sequence::default(), model: Vec::new(), clock: 1 << 40, word: seed | 1, runs: false }
    }

    fn below(&mut self, end: usize) -> usize {
        self.word = next_random(self.word);
        (self.word.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as usize % end
    }

    fn next_stamp(&mut self) -> Stamp {
        self.clock += [1, 1, 5000, 1 << 33][self.below(4)];
        let authors = if self.runs && self.below(50) > 0 { 1 } else { 3 };
        stamp(self.clock, self.below(authors) as u64)
    }

    fn value(&mut self) -> Vec<u8> {
        if self.runs && self.below(40) > 0 {
            let wide = [4, 20, 63, 64][(self.clock >> 34) as usize % 4];
            return (self.word as i64 >> (64 - wide)).to_string().into_bytes();
        }
        match self.below(8) {
            0 => Vec::new(),
            1 => b"007".to_vec(),
            2 => vec![b'x'; [52, 53, 200, 5000][self.below(4)]],
            3 => i64::MIN.to_string().into_bytes(),
            4 => i64::MAX.to_string().into_bytes(),
            5 => (self.word as i64).to_string().into_bytes(),
            6 => self.below(1000).to_string().into_bytes(),
            _ => b"text".to_vec(),
        }
    }

    /// Some pushes at one end, or, sometimes, any change of one element.
    fn push_or_step(&mut self) {
        if self.below(20) == 0 {
            return self.step();
        }
        let at_front = self.below(3) == 0;
        for _ in 0..1 + self.below(60) {
            let dot = self.next_stamp();
            // Some commands put several elements.
            for index in 0..1 + self.below(40).saturating_sub(37) as u32 {
                self.put(if at_front { 0 } else { self.model.len() }, dot, index);
            }
        }
    }

    /// One change of one element.
    fn step(&mut self) {
        let dot = self.next_stamp();
        let length = self.model.len();
        match self.below(12) {
            0..3 => self.put(0, dot, 0),
            3..5 => self.put(length, dot, 0),
            5 => (0..3)
                .for_each(|index| self.put(if dot.bits() & 1 == 0 { 0 } else { length + index as usize }, dot, index)),
            6 => {
                let at = self.below(length + 1);
                self.put(at, dot, 0);
            }
            7 if length > 0 => {
                let at = self.below(length);
                let value = self.value();
                self.change(at, |element| {
                    element.siblings.clear();
                    element.siblings.push((dot, value.clone().into()));
                });
            }
            8 if length > 0 => {
                let at = self.below(length);
                self.change(at, |element| element.siblings.push((dot, (*b"sibling").into())));
            }
            9 if length > 0 => {
                let at = self.below(length);
                self.change(at, |element| element.restore(Contribution::born(dot, dot, Number::integer(3))));
            }
            _ if length > 0 => {
                let at = [0, length - 1, self.below(length)][self.below(3)];
                self.take(at);
            }
            _ => {}
        }
    }

    fn put(&mut self, at: usize, dot: Stamp, index: u32) {
        let before = at.checked_sub(1).map(|before| &self.model[before].0);
        let Some(position) = Position::between(before, self.model.get(at).map(|(p, _)| p), dot, index) else { return };
        let (name, value) = (position.name(), self.value());
        let item = Item::new(&position, &name, dot, &value);
        let is_outermost = at == 0 || at == self.model.len();
        if self.below(4) == 0 || !self.list.put_outermost(&item) {
            let found = self.list.find(&position).unwrap_err();
            self.list.insert(found, &item);
        } else {
            assert!(is_outermost);
        }
        self.model.insert(at, (position, Element::written(dot, value.into())));
    }

    /// Removes an element as whoever knows its position does.
    fn take(&mut self, at: usize) {
        let (position, element) = self.model.remove(at);
        let is_outermost = at == 0 || at == self.model.len();
        let is_first_write = matches!(&element.siblings[..], [(dot, _)] if *dot == position.steps()[0].stamp)
            && element.contributions.is_empty();
        if let ([step], true) = (position.steps(), self.below(4) > 0) {
            assert!(!self.list.take_outermost(*step, |_| false));
            let (mut seen, expected) = (None, element.siblings.first().map(|(_, value)| value.to_vec()));
            let is_taken = self.list.take_outermost(*step, |item| {
                seen = item.text().map(Cow::into_owned);
                item.position() == position
            });
            assert_eq!(is_taken, is_outermost && is_first_write && !self.model.is_empty());
            if is_taken {
                return assert_eq!(seen, expected);
            }
        }
        let found = self.list.find(&position).unwrap();
        assert_eq!(found, self.list.at(at));
        self.list.remove(found);
    }

    fn change(&mut self, at: usize, work: impl Fn(&mut Element)) {
        work(&mut self.model[at].1);
        let name = self.model[at].0.name();
        self.list.change(&name, work);
    }

    /// Removes so many elements from either end.
    fn trim(&mut self, count: usize) {
        let length = self.model.len();
        let range = if self.below(2) == 0 { 0..count } else { length - count..length };
        let mut gone = Vec::new();
        self.list.remove_ranges(std::slice::from_ref(&range), |item| gone.push(item.position()));
        let expected: Vec<Position> = self.model.drain(range).map(|(position, _)| position).collect();
        assert_eq!(gone, expected);
    }

    fn check(&mut self) {
        let shown: Model = self.list.items().map(|item| (item.position(), self.list.widened(&item))).collect();
        assert_eq!(shown, self.model);
        assert_eq!(self.list.len(), self.model.len());
        let texts: Vec<_> = self.list.items_back().map(|item| self.list.text(&item).into_owned()).collect();
        let expected: Vec<_> =
            self.model.iter().rev().map(|(_, element)| element.value().unwrap_or_default().into_owned()).collect();
        assert_eq!(texts, expected);
        let start = self.below(self.model.len() + 1);
        assert_eq!(self.list.items_from(start).count(), self.model.len() - start);
        let first = |side| self.list.step_at(side);
        assert_eq!(first(Side::Behind), self.model.first().map(|(position, _)| position.steps()[0]));
        assert_eq!(first(Side::InFront), self.model.last().map(|(position, _)| position.steps()[0]));
        for chunk in &self.list.chunks {
            assert!((1..=CHUNK_ITEMS_MAX).contains(&chunk.len()));
            assert!(chunk.len() == 1 || chunk.heap_bytes() <= 8 * CHUNK_BYTES_MAX, "{}", chunk.heap_bytes());
        }
    }
}

#[test]
fn a_list_of_chunks_is_the_list_that_a_vector_is() {
    for seed in 0..60 {
        let mut pair = Pair::new(seed * 7919 + 1);
        for round in 0..400 {
            pair.step();
            if round % 20 == 0 {
                pair.check();
            }
        }
        pair.check();
    }
}

#[test]
fn runs_are_what_a_vector_is() {
    for seed in 0..40 {
        let mut pair = Pair { runs: true, ..Pair::new(seed * 104_729 + 1) };
        for round in 0..120 {
            pair.push_or_step();
            if round % 4 == 0 {
                pair.check();
            }
            // Trimmed at either end, by a few or by many.
            let (length, most) = (pair.model.len(), [5, 100, 2000][pair.below(3)]);
            let count = pair.below(length.min(most) + 1);
            match pair.below(4) {
                0 => (0..count).for_each(|_| pair.take(pair.model.len() - 1)),
                1 => (0..count).for_each(|_| pair.take(0)),
                _ => pair.trim(count),
            }
        }
        pair.check();
        for (at, (position, _)) in pair.model.iter().enumerate() {
            assert_eq!(pair.list.find(position), Ok(pair.list.at(at)));
            assert_eq!(pair.list.item(pair.list.at(at)).map(|item| item.position()).as_ref(), Some(position));
        }
    }
}

#[test]
fn ranges_are_removed_across_chunks() {
    for seed in 0..20 {
        let mut pair = Pair { runs: seed % 2 == 0, ..Pair::new(seed + 1) };
        (0..500).for_each(|_| {
            let (dot, length) = (pair.next_stamp(), pair.model.len());
            pair.put(length, dot, 0);
        });
        while !pair.model.is_empty() {
            let start = pair.below(pair.model.len());
            let end = start + 1 + pair.below((pair.model.len() - start).min(200));
            let mut gone = Vec::new();
            pair.list.remove_ranges(std::slice::from_ref(&(start..end)), |item| gone.push(item.position()));
            let expected: Vec<Position> = pair.model.drain(start..end).map(|(position, _)| position).collect();
            assert_eq!(gone, expected);
            pair.check();
        }
        assert!(pair.list.chunks.is_empty());
    }
}

#[test]
fn many_ranges_are_removed_in_one_walk() {
    for seed in 0..12 {
        let mut pair = Pair { runs: seed % 2 == 0, ..Pair::new(seed + 1) };
        (0..4000).for_each(|_| {
            let (dot, length) = (pair.next_stamp(), pair.model.len());
            pair.put(length, dot, 0);
        });
        // Gaps and lengths of elements, of chunks, and of many chunks; ranges without elements too.
        let (gap, length) = ([2, 20, 300, 2000][seed as usize % 4], [2, 9, 400][seed as usize % 3]);
        for _ in 0..10 {
            let mut ranges = Vec::new();
            let mut next = pair.below(gap);
            while next < pair.model.len() {
                let end = (next + pair.below(length)).min(pair.model.len());
                ranges.push(next..end);
                next = end + pair.below(gap);
            }
            let (mut seen, mut gone) = (Vec::new(), Vec::new());
            pair.list.for_each_in(&ranges, |item| seen.push(item.position()));
            pair.list.remove_ranges(&ranges, |item| gone.push(item.position()));
            let expected: Vec<Position> = ranges
                .iter()
                .flat_map(|range| &pair.model[range.clone()])
                .map(|(position, _)| position.clone())
                .collect();
            ranges.iter().rev().for_each(|range| drop(pair.model.drain(range.clone())));
            gone.sort_unstable();
            assert_eq!((&seen, &gone), (&expected, &expected));
            pair.check();
            assert!(pair.list.chunks.capacity() <= 4 * pair.list.chunks.len().max(1));
        }
    }
}

#[test]
fn what_is_kept_stays_in_order() {
    let mut pair = Pair::new(5);
    (0..600).for_each(|_| pair.step());
    let mut turn = 0;
    let mut keeps = || {
        turn += 1;
        turn % 3 != 0
    };
    pair.list.retain(|_, piece| match piece {
        Piece::Plain(..) => keeps(),
        Piece::Wide(element) => {
            element.contributions.clear();
            keeps() && !element.is_empty()
        }
    });
    turn = 0;
    let mut keeps = || {
        turn += 1;
        turn % 3 != 0
    };
    pair.model.retain_mut(|(_, element)| {
        let is_plain = element.siblings.len() == 1 && element.contributions.is_empty();
        if !is_plain {
            element.contributions.clear();
        }
        keeps() && !element.is_empty()
    });
    pair.check();
}

#[test]
fn the_last_elements_go_one_by_one_whatever_else_changes_between() {
    for seed in 0..40 {
        let mut pair = Pair::new(seed);
        pair.runs = seed % 2 == 0;
        for _ in 0..120 {
            match pair.below(3) {
                0 => pair.push_or_step(),
                1 => pair.step(),
                _ => {}
            }
            for _ in 0..pair.below(40).min(pair.model.len()) {
                let expected = pair.model.pop().map(|(position, _)| position);
                let mut taken = None;
                pair.list.take_last(|item| taken = Some(item.position()));
                assert_eq!(taken, expected);
            }
            pair.check();
        }
        while !pair.list.is_empty() {
            pair.model.pop();
            pair.list.take_last(|_| ());
        }
        pair.check();
        assert_eq!(pair.list.heap_bytes(), pair.list.chunks.capacity() * size_of::<Chunk>());
    }
}

/// Bytes of an element of a list of 800, as the heap sees it.
fn bytes_each(values: impl Fn(u64) -> String, clocks: impl Fn(u64) -> u64) -> f64 {
    let mut list = Sequence::default();
    for number in 0..3200u64 {
        let dot = stamp((1 << 50) + clocks(number), 7);
        let position = Position::at_edge(Side::Behind, dot, 0);
        let (name, value) = (position.name(), values(number));
        list.insert(list.at(0), &Item::new(&position, &name, dot, value.as_bytes()));
        if list.len() > 800 {
            list.remove_ranges(std::slice::from_ref(&(800..list.len())), |_| {});
        }
    }
    (list.heap_bytes() + size_of::<Sequence>()) as f64 / 800.0
}

/// Redis' listpacks take 10 bytes for an integer beyond 32 bits and 3 for one below 4096.
#[test]
fn a_capped_timeline_takes_less_than_a_listpack() {
    let (second, minute) = (1000 << 13, 60_000 << 13);
    let snowflake = |every_ms: u64| {
        move |number: u64| ((1_300_000_000_000 + number * every_ms) << 22 | (number * 7919) & 0xfff).to_string()
    };
    let random = |number: u64| next_random(next_random(number | 1) << 17 | 1).wrapping_mul(0x2545_f491_4f6c_dd1d) >> 1;
    let small = bytes_each(|number| number.to_string(), |number| number);
    let minutes = bytes_each(snowflake(60_000), |number| number * minute);
    let seconds = bytes_each(snowflake(1_000), |number| number * second);
    let any = bytes_each(|number| random(number).to_string(), |number| number * second);
    // A busy node pushes to many lists in turn: some milliseconds apart, at any count within one.
    let turns = |number: u64| ((number * 20 + random(number) % 5) << 13) | (random(number + 1) % 500);
    let in_turn = bytes_each(|number| (random(number) % 1000).to_string(), turns);
    eprintln!(
        "bytes an element: small {small:.2}, by minutes {minutes:.2}, by seconds {seconds:.2}, random {any:.2}, small in \
         turn {in_turn:.2}"
    );
    assert!(small < 2.0, "{small}");
    assert!(seconds < 4.0 && minutes < 4.2, "{seconds} {minutes}");
    assert!(any < 9.8, "{any}");
    assert!(in_turn < 3.9, "{in_turn}");
}

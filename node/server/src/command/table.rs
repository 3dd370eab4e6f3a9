//! From the name a client wrote to its row, without an allocation, whatever its case.

use super::key_uses::Uses;
use super::keys::Channels;
use super::{Command, FAMILIES, Flags};
use crate::acl::Categories;
use std::sync::LazyLock;

/// The longest name that is looked for. No Redis command has more than 20 letters.
const NAME_BYTES_MAX: usize = 23;
const WORDS: usize = 3;

/// A name in lower case, padded with zeros, and its length in the last byte.
type Name = [u64; WORDS];

/// A row and what is known about it beyond the row.
#[derive(Debug)]
pub struct Entry {
    /// The row.
    pub command: &'static Command,
    /// Its number among all commands and subcommands; counts are kept under it.
    pub ordinal: usize,
    /// Its name, with that of its container as in `config|get`.
    pub full_name: String,
    /// The categories by which access rules name it.
    pub categories: Categories,
    /// What it does with the keys that it names.
    pub uses: Uses,
    /// Where the channels are that it names.
    pub channels: Channels,
    /// Its cost grows with something.
    grows: Growth,
    /// Its subcommands, in the order of their rows.
    pub subcommands: Vec<Entry>,
}

/// What the cost of a command grows with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Growth {
    /// Nothing.
    Not,
    /// Only with its arguments, once there are more than so many.
    WithArguments(usize),
    /// With what it finds.
    WithData,
}

/// Arguments with which a command whose cost grows with them alone is still fast.
const UNTIMED_ARGUMENTS_MAX: usize = 16;

/// All commands.
#[derive(Debug)]
pub struct Table {
    entries: Vec<Entry>,
    /// Open addressing; a power of two, at most a quarter full.
    index: Box<[Option<(Name, usize)>]>,
    /// Positions in `entries` (and in its subcommands) by ordinal.
    ordinals: Vec<(usize, Option<usize>)>,
}

/// The table of all families. It is built once.
pub fn table() -> &'static Table {
    static TABLE: LazyLock<Table> = LazyLock::new(|| Table::new(FAMILIES));
    &TABLE
}

impl Table {
    fn new(families: &[&'static [Command]]) -> Self {
        let (mut entries, mut ordinals) = (Vec::new(), Vec::new());
        for command in families.iter().copied().flatten() {
            let position = entries.len();
            let ordinal = ordinals.len();
            ordinals.push((position, None));
            let mut subcommands = Vec::with_capacity(command.subcommands.len());
            for (index, subcommand) in command.subcommands.iter().enumerate() {
                let full_name = format!("{}|{}", command.name, subcommand.name);
                subcommands.push(Entry::new(subcommand, ordinals.len(), full_name, vec![]));
                ordinals.push((position, Some(index)));
            }
            entries.push(Entry::new(command, ordinal, command.name.to_owned(), subcommands));
        }
        let mut index: Box<[Option<(Name, usize)>]> = vec![None; (entries.len() * 4).next_power_of_two().max(4)].into();
        for (position, entry) in entries.iter().enumerate() {
            let Some(name) = normalized(entry.command.name.as_bytes()) else { continue };
            let mut slot = first_slot(&name, index.len());
            while index[slot].is_some() {
                slot = (slot + 1) & (index.len() - 1);
            }
            index[slot] = Some((name, position));
        }
        Self { entries, index, ordinals }
    }

    /// The command called `name`, in any case.
    #[inline]
    pub fn find(&self, name: &[u8]) -> Option<&Entry> {
        let name = normalized(name)?;
        let mut slot = first_slot(&name, self.index.len());
        loop {
            match &self.index[slot] {
                Some((known, position)) if *known == name => return self.entries.get(*position),
                Some(_) => slot = (slot + 1) & (self.index.len() - 1),
                None => return None,
            }
        }
    }

    /// The command or subcommand with this full name, as in `config|get`.
    pub fn find_full(&self, name: &[u8]) -> Option<&Entry> {
        match name.iter().position(|byte| *byte == b'|') {
            Some(bar) => self.find(&name[..bar])?.subcommand(&name[bar + 1..]),
            None => self.find(name),
        }
    }

    /// All commands in the order of their families, without subcommands.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// All commands, each followed by its subcommands.
    pub fn every(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().flat_map(|entry| std::iter::once(entry).chain(&entry.subcommands))
    }

    /// The command or subcommand with this ordinal.
    pub fn by_ordinal(&self, ordinal: usize) -> Option<&Entry> {
        let (position, subcommand) = self.ordinals.get(ordinal)?;
        let entry = self.entries.get(*position)?;
        subcommand.map_or(Some(entry), |index| entry.subcommands.get(index))
    }

    /// The full names of all commands and subcommands, by ordinal.
    pub fn names(&self) -> Vec<&str> {
        let all = (0..self.len()).filter_map(|ordinal| self.by_ordinal(ordinal));
        all.map(|entry| entry.full_name.as_str()).collect()
    }

    /// How many commands and subcommands there are: ordinals are below.
    pub fn len(&self) -> usize {
        self.ordinals.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ordinals.is_empty()
    }
}

impl Entry {
    fn new(command: &'static Command, ordinal: usize, full_name: String, subcommands: Vec<Entry>) -> Self {
        let grows = command.complexity.contains(['N', 'M']) || command.complexity.starts_with("Depends");
        let is_fast = command.flags.contains(Flags::FAST) && !command.flags.contains(Flags::GROWS);
        let grows = if !grows {
            Growth::Not
        } else if command.complexity.starts_with("Without the count argument O(1)")
            || is_fast && command.complexity.ends_with("number of elements returned")
        {
            Growth::WithArguments(command.arity.unsigned_abs() as usize)
        } else if is_fast {
            Growth::WithArguments(UNTIMED_ARGUMENTS_MAX)
        } else {
            Growth::WithData
        };
        Self {
            command,
            ordinal,
            categories: Categories::of(command, &full_name),
            uses: Uses::of_command(&full_name, !command.flags.contains(Flags::READONLY)),
            channels: Channels::of_command(&full_name),
            full_name,
            grows,
            subcommands,
        }
    }

    /// Whether a call with this many arguments may take long, so that it is timed; of others only some are.
    #[inline]
    pub fn is_timed(&self, arguments: usize) -> bool {
        match self.grows {
            Growth::Not => false,
            Growth::WithArguments(untimed_max) => arguments > untimed_max,
            Growth::WithData => true,
        }
    }

    /// The subcommand called `name`, in any case.
    pub fn subcommand(&self, name: &[u8]) -> Option<&Entry> {
        self.subcommands.iter().find(|entry| entry.command.name.as_bytes().eq_ignore_ascii_case(name))
    }

    /// Whether a request with this many arguments may be meant.
    #[inline]
    pub fn takes(&self, arguments: usize) -> bool {
        let arity = self.command.arity;
        let least = arity.unsigned_abs() as usize;
        if arity < 0 { arguments >= least } else { arguments == least }
    }
}

#[inline]
fn normalized(name: &[u8]) -> Option<Name> {
    if name.len() > NAME_BYTES_MAX {
        return None;
    }
    let mut words = [0u64; WORDS];
    let (whole, rest) = name.as_chunks::<8>();
    for (word, &bytes) in words.iter_mut().zip(whole) {
        *word = lowercase(u64::from_le_bytes(bytes));
    }
    if let Some(word) = words.get_mut(whole.len()) {
        *word = lowercase(few_bytes(rest));
    }
    // SUBTLE: without the length a name that ends in zero bytes would be one without them.
    words[WORDS - 1] |= (name.len() as u64) << 56;
    Some(words)
}

/// Up to seven bytes as a number, the first as the lowest.
#[inline]
fn few_bytes(bytes: &[u8]) -> u64 {
    match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        // They overlap in what both have.
        (Some(&first), Some(&last)) => {
            let (first, last) = (u32::from_le_bytes(first), u32::from_le_bytes(last));
            u64::from(first) | u64::from(last) << ((bytes.len() - 4) * 8)
        }
        _ => bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    }
}

/// Eight bytes with the capital letters of ASCII made small.
#[inline]
fn lowercase(word: u64) -> u64 {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    // Of each byte the highest bit then says whether it is at least `A`, and whether it is above `Z`.
    let low = word & (EACH * 0x7f);
    let from_a = low + EACH * (0x80 - b'A' as u64);
    let above_z = low + EACH * (0x7f - b'Z' as u64);
    let capital = from_a & !above_z & !word & (EACH << 7);
    word | capital >> 2
}

#[inline]
fn first_slot(name: &Name, slots: usize) -> usize {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mixed = (name[0] ^ name[1].rotate_left(23) ^ name[2].rotate_left(46)).wrapping_mul(FACTOR);
    (mixed >> 32) as usize & (slots - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_found_in_any_case_and_by_ordinal() {
        let table = table();
        for entry in table.entries() {
            let name = entry.command.name;
            assert!(name.len() <= NAME_BYTES_MAX && name.bytes().all(|byte| !byte.is_ascii_uppercase()), "{name}");
            assert_eq!(table.find(name.as_bytes()).unwrap().ordinal, entry.ordinal, "{name} stands twice in the table");
            assert_eq!(table.find(name.to_ascii_uppercase().as_bytes()).unwrap().ordinal, entry.ordinal);
            for known in std::iter::once(entry).chain(&entry.subcommands) {
                assert_eq!(table.by_ordinal(known.ordinal).unwrap().full_name, known.full_name);
                assert_eq!(table.find_full(known.full_name.as_bytes()).unwrap().ordinal, known.ordinal);
            }
        }
        assert!(table.by_ordinal(table.len()).is_none());
    }

    #[test]
    fn what_may_take_long_is_timed_though_redis_calls_it_fast() {
        let is_timed = |line: &str| {
            let words: Vec<&str> = line.split(' ').collect();
            table().find(words[0].as_bytes()).unwrap().is_timed(words.len())
        };
        for line in ["SPOP k 1000000", "UNLINK k", "RENAMENX k l", "MOVE k 1", "APPEND k v", "SMEMBERS k", "DEL k"] {
            assert!(is_timed(line), "{line}");
        }
        for line in ["GET k", "SPOP k", "SRANDMEMBER k", "SADD k a b", "HSET h f v", "MGET a b"] {
            assert!(!is_timed(line), "{line}");
        }
        assert!(is_timed(&format!("MGET{}", " k".repeat(100))));
    }

    #[test]
    fn every_byte_of_a_name_is_made_small_as_ascii_does() {
        for length in 0..=NAME_BYTES_MAX {
            for byte in 0..=u8::MAX {
                let name: Vec<u8> = (0..length).map(|at| byte.wrapping_add((at as u8).wrapping_mul(37))).collect();
                let mut words = [0u64; WORDS];
                for (at, byte) in name.iter().enumerate() {
                    words[at / 8] |= u64::from(byte.to_ascii_lowercase()) << (at % 8 * 8);
                }
                words[WORDS - 1] |= (length as u64) << 56;
                assert_eq!(normalized(&name), Some(words), "{name:?}");
            }
        }
        assert_eq!(normalized(&[b'a'; NAME_BYTES_MAX + 1]), None);
    }

    #[test]
    fn what_is_not_a_command_is_not_found() {
        for name in ["", "pin", "pingg", "\0", "a name that is much longer than any command could be", "ping\0"] {
            assert!(table().find(name.as_bytes()).is_none(), "{name:?}");
        }
        assert!(table().find_full(b"client|nonsense").is_none());
    }

    #[test]
    fn every_row_says_what_dispatch_and_readers_need() {
        for entry in table().entries().iter().flat_map(|entry| std::iter::once(entry).chain(&entry.subcommands)) {
            let (command, name) = (entry.command, &entry.full_name);
            let writes = command.flags.contains(super::super::Flags::WRITE);
            assert_eq!(writes, matches!(command.merge, super::super::Merge::Writes(_)), "{name}: flag and merge");
            assert!(!command.summary.is_empty(), "{name}: summary");
            assert!(!command.merge.sentence().is_empty(), "{name}: merge");
            assert!(!command.since.is_empty() && !command.complexity.is_empty(), "{name}");
            assert_ne!(command.arity, 0, "{name}: arity");
        }
    }
}

//! How clients may find the keys of those commands whose rows only have a function for it: what `COMMAND INFO` says of them.

use super::key_uses::Use;

/// Where a search begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// At this argument.
    Index(i64),
    /// Behind this word, which is looked for from this argument on.
    Keyword(&'static str, i64),
    /// Only the command itself knows.
    Unknown,
}

/// Which arguments are keys from there on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Find {
    /// That one.
    One,
    /// That one and all that follow.
    All,
    /// The first half of all that follow.
    FirstHalf,
    /// Only the command itself knows.
    Unknown,
}

/// A place where keys are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Search {
    /// What is done with them.
    pub used: Use,
    /// Where it begins.
    pub begin: Begin,
    /// Which they are.
    pub find: Find,
    /// It may find what is no key, or not all of them: the command is to be asked.
    pub is_incomplete: bool,
}

const fn search(used: Use, begin: Begin, find: Find) -> Search {
    Search { used, begin, find, is_incomplete: false }
}

const READ: Use = Use::READ_ONLY.union(Use::ACCESS);
const STORED: Use = Use::OVERWRITE.union(Use::UPDATE);
const TAKEN: Use = Use::READ_WRITE.union(Use::ACCESS).union(Use::DELETE);
const FIRST: Search = search(READ, Begin::Index(1), Find::One);
const ELSEWHERE: Search = search(READ, Begin::Unknown, Find::Unknown);

/// The places of the command with this full name, if it is one of those.
pub fn of_command(full_name: &str) -> Option<&'static [Search]> {
    SEARCHES.iter().find(|(name, _)| *name == full_name).map(|(_, searches)| *searches)
}

const SEARCHES: &[(&str, &[Search])] = &[
    ("sort", &[FIRST, ELSEWHERE, search(STORED, Begin::Unknown, Find::Unknown)]),
    ("sort_ro", &[FIRST, ELSEWHERE]),
    (
        "georadius",
        &[
            FIRST,
            search(STORED, Begin::Keyword("STORE", 6), Find::One),
            search(STORED, Begin::Keyword("STOREDIST", 6), Find::One),
        ],
    ),
    (
        "georadiusbymember",
        &[
            FIRST,
            search(STORED, Begin::Keyword("STORE", 5), Find::One),
            search(STORED, Begin::Keyword("STOREDIST", 5), Find::One),
        ],
    ),
    (
        "migrate",
        &[
            search(TAKEN, Begin::Index(3), Find::One),
            Search { is_incomplete: true, ..search(TAKEN, Begin::Keyword("KEYS", -2), Find::All) },
        ],
    ),
    ("xread", &[search(READ, Begin::Keyword("STREAMS", 1), Find::FirstHalf)]),
    ("xreadgroup", &[search(READ, Begin::Keyword("STREAMS", 4), Find::FirstHalf)]),
];

//! `LCS`: the longest common subsequence of two strings, by the table of all beginnings.

use crate::command::number;
use crate::command::{Call, Command, CommandError, Flags, Group, Keys, Merge};
use crate::limits::LCS_CELLS_MAX;
use keyspace::WrongKind;
use resp::Reply;

/// The rows of this family.
pub const COMMANDS: &[Command] = &[Command {
    name: "lcs",
    arity: -3,
    flags: Flags::READONLY,
    keys: Keys::TWO,
    handler: lcs,
    since: "7.0.0",
    summary: "Find the longest common subsequence of two strings",
    group: Group::String,
    complexity: "O(N*M) where N and M are the lengths of s1 and s2, respectively",
    merge: Merge::Reads,
    subcommands: &[],
}];

struct LcsOptions {
    wants_length: bool,
    wants_matches: bool,
    wants_match_lengths: bool,
    match_length_min: usize,
}

impl LcsOptions {
    fn parse(args: &[&[u8]]) -> Result<Self, CommandError> {
        let mut options =
            Self { wants_length: false, wants_matches: false, wants_match_lengths: false, match_length_min: 0 };
        let mut rest = args.iter();
        while let Some(word) = rest.next() {
            if word.eq_ignore_ascii_case(b"idx") {
                options.wants_matches = true;
            } else if word.eq_ignore_ascii_case(b"len") {
                options.wants_length = true;
            } else if word.eq_ignore_ascii_case(b"withmatchlen") {
                options.wants_match_lengths = true;
            } else if word.eq_ignore_ascii_case(b"minmatchlen") {
                let length = number::integer(rest.next().ok_or(CommandError::Syntax)?)?;
                options.match_length_min = usize::try_from(length).unwrap_or(0);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        if options.wants_length && options.wants_matches {
            return Err(CommandError::Plain("ERR If you want both the length and indexes, please just use IDX."));
        }
        Ok(options)
    }
}

/// Where a piece of the common subsequence lies: inclusive positions in both strings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Match {
    first: (usize, usize),
    second: (usize, usize),
}

impl Match {
    fn length(&self) -> usize {
        self.first.1 - self.first.0 + 1
    }
}

fn lcs(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    const WRONG_TYPE: CommandError = CommandError::Plain("ERR The specified keys must contain string values");
    let db = call.db();
    let first = call.store.string(db, args[1]).map_err(|WrongKind| WRONG_TYPE)?.unwrap_or_default().into_owned();
    let second = call.store.string(db, args[2]).map_err(|WrongKind| WRONG_TYPE)?.unwrap_or_default();
    let options = LcsOptions::parse(&args[3..])?;
    let table = Table::of(&first, &second)?;
    if options.wants_length {
        call.reply.integer(table.length() as i64);
        return Ok(());
    }
    let (text, matches) = table.walk_back(&first, &second);
    if options.wants_matches {
        write_matches(call.reply, &options, &matches, text.len());
    } else {
        call.reply.bulk(&text);
    }
    Ok(())
}

fn write_matches(reply: &mut Reply, options: &LcsOptions, matches: &[Match], length: usize) {
    let wanted = || matches.iter().filter(|found| found.length() >= options.match_length_min);
    reply.map(2);
    reply.bulk(b"matches");
    reply.array(wanted().count());
    for found in wanted() {
        reply.array(if options.wants_match_lengths { 3 } else { 2 });
        for (start, end) in [found.first, found.second] {
            reply.array(2);
            reply.integer(start as i64);
            reply.integer(end as i64);
        }
        if options.wants_match_lengths {
            reply.integer(found.length() as i64);
        }
    }
    reply.bulk(b"len");
    reply.integer(length as i64);
}

/// The lengths of the longest common subsequences of all pairs of beginnings.
struct Table {
    width: usize,
    cells: Vec<u32>,
}

impl Table {
    fn of(first: &[u8], second: &[u8]) -> Result<Self, CommandError> {
        let width = second.len() + 1;
        let cells = (first.len() + 1).checked_mul(width).filter(|&cells| cells <= LCS_CELLS_MAX).ok_or(
            CommandError::Plain("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len"),
        )?;
        let mut table = Self { width, cells: vec![0; cells] };
        for (row, byte) in first.iter().enumerate() {
            for (column, other) in second.iter().enumerate() {
                let length = if byte == other {
                    table.at(row, column) + 1
                } else {
                    table.at(row, column + 1).max(table.at(row + 1, column))
                };
                table.cells[(row + 1) * width + column + 1] = length;
            }
        }
        Ok(table)
    }

    fn at(&self, row: usize, column: usize) -> u32 {
        self.cells[row * self.width + column]
    }

    fn length(&self) -> usize {
        self.cells.last().map_or(0, |&length| length as usize)
    }

    /// The subsequence itself and its unbroken pieces, the last one first, in the order in which Redis finds them.
    fn walk_back(&self, first: &[u8], second: &[u8]) -> (Vec<u8>, Vec<Match>) {
        let mut text = vec![0; self.length()];
        let mut missing = text.len();
        let mut matches: Vec<Match> = Vec::new();
        let (mut row, mut column) = (first.len(), second.len());
        while row > 0 && column > 0 && missing > 0 {
            if first[row - 1] == second[column - 1] {
                (row, column, missing) = (row - 1, column - 1, missing - 1);
                text[missing] = first[row];
                match matches.last_mut() {
                    Some(open) if open.first.0 == row + 1 && open.second.0 == column + 1 => {
                        (open.first.0, open.second.0) = (row, column);
                    }
                    Some(_) | None => matches.push(Match { first: (row, row), second: (column, column) }),
                }
            } else if self.at(row - 1, column) > self.at(row, column - 1) {
                row -= 1;
            } else {
                column -= 1;
            }
        }
        (text, matches)
    }
}

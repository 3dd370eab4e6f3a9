//! The options of `XADD` and `XTRIM`.

use super::id;
use crate::command::{CommandError, number};
use keyspace::{IdRequest, Trim, TrimBy};

/// What stands before the fields of `XADD`, or all of `XTRIM`.
#[derive(Debug)]
pub(super) struct Options {
    /// No stream is made.
    pub no_make: bool,
    /// What is to go.
    pub trim: Option<Trim>,
    /// The id of the new entry; of `XADD`.
    pub id: IdRequest,
    /// Where the fields begin; of `XADD`.
    pub fields: usize,
}

/// Entries that one approximate trimming removes if nothing is said, as in Redis.
const APPROXIMATE_LIMIT: usize = 10_000;

const TWICE: CommandError =
    CommandError::Plain("ERR syntax error, MAXLEN and MINID options at the same time are not compatible");

impl Options {
    /// Reads the arguments from the third on, in Redis' order.
    pub fn parse(args: &[&[u8]], is_add: bool) -> Result<Self, CommandError> {
        let (mut by, mut is_approximate, mut limit, mut no_make) = (None, false, None, false);
        let mut id = IdRequest::Generated;
        let mut at = 2;
        while let Some(&word) = args.get(at) {
            let more = args.len() - 1 - at;
            let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
            if is_add && word == b"*" {
                break;
            } else if (is("maxlen") || is("minid")) && more > 0 {
                if by.is_some() {
                    return Err(TWICE);
                }
                is_approximate = more >= 2 && args[at + 1] == b"~";
                at += usize::from(more >= 2 && matches!(args[at + 1], b"~" | b"="));
                by = Some(if is("maxlen") {
                    length(args[at + 1])?
                } else {
                    TrimBy::Id(id::parse_strict(args[at + 1], 0)?)
                });
                at += 1;
            } else if is("limit") && more > 0 {
                let given = number::integer(args[at + 1])?;
                let given = usize::try_from(given);
                limit = Some(given.map_err(|_| CommandError::Plain("ERR The LIMIT argument must be >= 0."))?);
                at += 1;
            } else if is_add && is("nomkstream") {
                no_make = true;
            } else if is_add {
                id = id::parse_new(word)?;
                break;
            } else {
                return Err(CommandError::Syntax);
            }
            at += 1;
        }
        let trim = trim(by, is_approximate, limit, is_add)?;
        Ok(Self { no_make, trim, id, fields: at + 1 })
    }
}

fn length(text: &[u8]) -> Result<TrimBy, CommandError> {
    let length = u64::try_from(number::integer(text)?);
    length.map(TrimBy::Length).map_err(|_| CommandError::Plain("ERR The MAXLEN argument must be >= 0."))
}

fn trim(
    by: Option<TrimBy>,
    is_approximate: bool,
    limit: Option<usize>,
    is_add: bool,
) -> Result<Option<Trim>, CommandError> {
    if by.is_none() && limit.is_some_and(|limit| limit > 0) {
        return Err(CommandError::Plain(
            "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
        ));
    }
    if by.is_none() && !is_add {
        return Err(CommandError::Plain("ERR syntax error, XTRIM must be called with a trimming strategy"));
    }
    if limit.is_some() && !is_approximate {
        return Err(CommandError::Plain("ERR syntax error, LIMIT cannot be used without the special ~ option"));
    }
    let limit = match limit {
        Some(0) => None,
        None if is_approximate => Some(APPROXIMATE_LIMIT),
        limit => limit,
    };
    Ok(by.map(|by| Trim { by, is_approximate, limit }))
}

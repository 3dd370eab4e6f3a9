//! `LPOS`: where in a list an element stands.

use crate::command::{Call, CommandError, number};

/// What is looked for, and how far.
struct Search {
    /// The match that is answered first, from 1 on.
    rank: u64,
    from_end: bool,
    /// How many matches are answered as an array; nothing is one match alone, 0 all.
    count: Option<usize>,
    /// How many elements are looked at; 0 is all.
    length_max: usize,
}

impl Search {
    fn parse(options: &[&[u8]]) -> Result<Self, CommandError> {
        let mut search = Self { rank: 1, from_end: false, count: None, length_max: 0 };
        let (pairs, []) = options.as_chunks::<2>() else {
            return Self::parse(&options[..options.len() - 1]).and(Err(CommandError::Syntax));
        };
        for [option, value] in pairs {
            if option.eq_ignore_ascii_case(b"rank") {
                let rank = number::integer(value)?;
                if rank == 0 {
                    return Err(CommandError::Plain(ZERO_RANK));
                }
                // The least of all numbers has no opposite: to Redis it is less than any rank.
                (search.rank, search.from_end) = (u64::try_from(rank.saturating_abs()).unwrap_or(1), rank < 0);
                if rank == i64::MIN {
                    search.rank = 0;
                }
            } else if option.eq_ignore_ascii_case(b"count") {
                search.count = Some(number::count(value, "ERR COUNT can't be negative")?);
            } else if option.eq_ignore_ascii_case(b"maxlen") {
                search.length_max = number::count(value, "ERR MAXLEN can't be negative")?;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(search)
    }
}

const ZERO_RANK: &str = "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use \
                         negative to start from the end of the list";

pub(super) fn lpos(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    let search = Search::parse(&args[3..])?;
    let Some(list) = call.store.list(db, args[1])? else {
        if search.count.is_some() {
            call.reply.array(0)
        } else {
            call.reply.null()
        }
        return Ok(());
    };
    let elements: &mut dyn Iterator<Item = _> = if search.from_end { &mut list.iter_back() } else { &mut list.iter() };
    let looked_at = if search.length_max == 0 { usize::MAX } else { search.length_max };
    let matches = elements.take(looked_at).enumerate().filter(|(_, element)| **element == *args[2]);
    let passed = usize::try_from(search.rank.saturating_sub(1)).unwrap_or(usize::MAX);
    let most = match search.count {
        None => 1,
        Some(0) => usize::MAX,
        Some(count) => count,
    };
    let last = list.len() - 1;
    let place = |distance: usize| if search.from_end { last - distance } else { distance };
    let found: Vec<usize> = matches.skip(passed).take(most).map(|(distance, _)| place(distance)).collect();
    match (search.count, found.first()) {
        (Some(_), _) => {
            call.reply.array(found.len());
            found.into_iter().for_each(|index| call.reply.count(index));
        }
        (None, Some(index)) => call.reply.count(*index),
        (None, None) => call.reply.null(),
    }
    Ok(())
}

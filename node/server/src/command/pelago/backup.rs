//! `PELAGO BACKUP`: a cut of the node's store, to be read piece by piece. `pelago backup` does it all.

use super::order;
use crate::backups::ChunkWish;
use crate::client::Order;
use crate::command::{Call, CommandError, number};
use crate::persistence;

const NOT_KEPT: &str = "ERR this node keeps nothing on disk (persistence = off), so there is no store to copy; `pelago export` writes every key of a running node into a file";

/// `BEGIN [LEASE <ms>]`, `READ <token> <name> <offset> <bytes> [UNLESS <checksum>]` and `END <token>`.
pub(super) fn backup(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    if !persistence::is_on(&call.node.config.load()) {
        return Err(CommandError::Plain(NOT_KEPT));
    }
    let is = |word: &[u8], name: &[u8]| word.eq_ignore_ascii_case(name);
    match &args[2..] {
        // Where the cut is to be is for the thread to say that hands everything to the disk.
        [verb, ..] if is(verb, b"begin") => return order(call, args),
        [verb, rest @ ..] if is(verb, b"read") => {
            let wish = wish(rest)?;
            call.client.order = Some(Order::Chunk(call.node.backups.read(wish)));
        }
        [verb, token] if is(verb, b"end") => {
            call.client.order = Some(Order::Text(call.node.backups.end(text(token))));
        }
        _ => return Err(CommandError::Syntax),
    }
    Ok(())
}

fn wish(words: &[&[u8]]) -> Result<ChunkWish, CommandError> {
    let (words, unless) = match words {
        [words @ .., unless, checksum] if words.len() == 4 && unless.eq_ignore_ascii_case(b"unless") => {
            (words, Some(checksum_of(checksum)?))
        }
        words => (words, None),
    };
    let [token, name, offset, bytes] = words else { return Err(CommandError::Syntax) };
    let positive = |word: &[u8]| u64::try_from(number::integer(word)?).map_err(|_| CommandError::NotAnInteger);
    Ok(ChunkWish {
        token: text(token),
        name: text(name),
        offset: positive(offset)?,
        bytes_max: usize::try_from(positive(bytes)?).unwrap_or(usize::MAX),
        unless,
    })
}

/// XXH3-64 in hexadecimal.
fn checksum_of(word: &[u8]) -> Result<u64, CommandError> {
    let digits = str::from_utf8(word).ok().filter(|word| word.bytes().all(|byte| byte.is_ascii_hexdigit()));
    digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).ok_or(CommandError::Syntax)
}

fn text(word: &[u8]) -> String {
    String::from_utf8_lossy(word).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_be_read_is_taken_from_the_words() {
        let wish = |line: &str| wish(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>());
        let expected = ChunkWish {
            token: "t".to_owned(),
            name: "journal-1".to_owned(),
            offset: 7,
            bytes_max: 9,
            unless: Some(0xabc),
        };
        assert_eq!(wish("t journal-1 7 9 UNLESS 0ABC"), Ok(expected.clone()));
        assert_eq!(wish("t journal-1 7 9"), Ok(ChunkWish { unless: None, ..expected }));
        for line in ["t", "t n 1", "t n 1 2 3", "t n 1 2 UNLESS", "t n 1 2 UNLESS x", "t n 1 2 UNLESS +1"] {
            assert_eq!(wish(line), Err(CommandError::Syntax), "{line}");
        }
        for line in ["t n -1 2", "t n 1 x"] {
            assert_eq!(wish(line), Err(CommandError::NotAnInteger), "{line}");
        }
    }
}

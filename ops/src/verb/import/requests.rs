//! From a key of a file to the requests that make it.
//!
//! Ordinary commands and not `RESTORE`: they work for every kind that the target knows commands of, and a large collection
//! goes in pieces.

mod stream;

use super::holding::Holding;
use super::lives::Lives;
use rdb::{Entry, Hash, Kind, Object, SortedSet, Texts, score_text};
use resp::write_request;
use std::io::Write as _;

/// What became of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// Requests were appended, which are answered by so many replies. `loses_deadlines`: fields of a hash expire at the
    /// source, and the target has no way to say so.
    Requests {
        /// Replies to come.
        replies: u64,
        /// Fields whose deadlines are lost.
        loses_deadlines: u64,
    },
    /// It is not written, for this reason.
    Skipped(Skip),
}

/// Why a key is not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Skip {
    /// Its time is over.
    Expired,
    /// It is a collection without elements.
    Empty,
    /// The target has no such kind.
    Kind(Kind),
    /// The target has no such database.
    Database,
}

impl Skip {
    /// The reason in words.
    pub fn reason(self) -> String {
        match self {
            Self::Expired => "expired".to_owned(),
            Self::Empty => "collections without elements".to_owned(),
            Self::Kind(kind) => format!("{} values, which the target does not know", kind.name()),
            Self::Database => "in a database that the target does not have".to_owned(),
        }
    }

    /// Whether something is missing at the target for it.
    pub fn is_loss(self) -> bool {
        match self {
            Self::Expired | Self::Empty => false,
            Self::Kind(_) | Self::Database => true,
        }
    }
}

/// Requests of one key, appended to what is there.
pub(super) struct Requests<'o> {
    out: &'o mut Vec<u8>,
    count: u64,
}

impl Requests<'_> {
    /// Adds one.
    pub(super) fn add(&mut self, words: &[&[u8]]) {
        write_request(self.out, words);
        self.count += 1;
    }

    /// Adds as many as it takes for `command key element...`, where every group of `group` words stays together.
    fn add_in_pieces<'w>(&mut self, command: &[u8], key: &[u8], words: impl Iterator<Item = &'w [u8]>, group: usize) {
        let mut piece: Vec<&[u8]> = vec![command, key];
        let mut bytes = 0;
        for word in words {
            piece.push(word);
            bytes += word.len();
            let is_whole = (piece.len() - 2).is_multiple_of(group);
            if is_whole && (bytes >= PIECE_BYTES || piece.len() >= PIECE_WORDS) {
                self.add(&piece);
                piece.truncate(2);
                bytes = 0;
            }
        }
        if piece.len() > 2 {
            self.add(&piece);
        }
    }
}

/// Appends the requests that make this key, whatever stood there before. Of a kind that the target does not hold, the value
/// need not have been read.
pub fn write(entry: &Entry, kind: Kind, holding: &Holding, lives: Lives, out: &mut Vec<u8>) -> Written {
    let skip = if entry.deadline.is_some_and(|deadline| lives.is_over(deadline)) {
        Some(Skip::Expired)
    } else if entry.database >= holding.databases {
        Some(Skip::Database)
    } else if !holding.holds(kind) {
        Some(Skip::Kind(kind))
    } else if entry.object.is_empty() {
        Some(Skip::Empty)
    } else {
        None
    };
    if let Some(skip) = skip {
        return Written::Skipped(skip);
    }
    if let Object::String(value) = &entry.object {
        write_string(out, &entry.key, value, entry.deadline.map(|deadline| lives.deadline(deadline)));
        return Written::Requests { replies: 1, loses_deadlines: 0 };
    }
    write_collection(entry, holding, lives, out)
}

/// Nothing is allocated for the most frequent of all.
fn write_string(out: &mut Vec<u8>, key: &[u8], value: &[u8], deadline: Option<u64>) {
    match deadline {
        None => write_request(out, &[b"SET", key, value]),
        Some(deadline) => {
            let (mut digits, text) = ([0; 20], deadline);
            let length = {
                let mut rest = &mut digits[..];
                // Twenty bytes hold every number of 64 bits.
                let _ = write!(rest, "{text}");
                20 - rest.len()
            };
            write_request(out, &[b"SET", key, value, b"PXAT", &digits[..length]]);
        }
    }
}

fn write_collection(entry: &Entry, holding: &Holding, lives: Lives, out: &mut Vec<u8>) -> Written {
    let start = out.len();
    let key = entry.key.as_slice();
    let mut requests = Requests { out, count: 0 };
    if holding.may_hold_keys(entry.database) {
        requests.add(&[b"DEL", key]);
    }
    let before = requests.count;
    let mut loses_deadlines = 0;
    match &entry.object {
        Object::List(elements) => requests.add_in_pieces(b"RPUSH", key, elements.iter(), 1),
        Object::Set(members) => requests.add_in_pieces(b"SADD", key, members.iter(), 1),
        Object::SortedSet(sorted) => write_sorted_set(&mut requests, key, sorted),
        Object::Hash(hash) => loses_deadlines = write_hash(&mut requests, key, hash, holding, lives),
        Object::Stream(stream) => stream::write_stream(&mut requests, key, stream),
        Object::String(_) | Object::Module(_) => {}
    }
    if requests.count == before {
        // Every field has expired.
        out.truncate(start);
        return Written::Skipped(Skip::Expired);
    }
    if let Some(deadline) = entry.deadline {
        requests.add(&[b"PEXPIREAT", key, lives.deadline(deadline).to_string().as_bytes()]);
    }
    let mut replies = requests.count;
    // Whole or not at all, unless it is so large that it had better come in pieces.
    if replies > 1 && out.len() - start <= ATOMIC_BYTES_MAX {
        let mut multi = Vec::new();
        write_request(&mut multi, &[b"MULTI"]);
        out.splice(start..start, multi);
        write_request(out, &[b"EXEC"]);
        replies += 2;
    }
    Written::Requests { replies, loses_deadlines }
}

fn write_sorted_set(requests: &mut Requests<'_>, key: &[u8], sorted: &SortedSet) {
    let scores: Texts = {
        let mut texts = Texts::new();
        sorted.scores.iter().for_each(|score| texts.push(score_text(*score).as_bytes()));
        texts
    };
    let words = scores.iter().zip(sorted.members.iter()).flat_map(|(score, member)| [score, member]);
    requests.add_in_pieces(b"ZADD", key, words, 2);
}

/// Says of how many fields the deadlines are lost. Fields that have expired stay away.
fn write_hash(requests: &mut Requests<'_>, key: &[u8], hash: &Hash, holding: &Holding, lives: Lives) -> u64 {
    let live = || hash.iter().filter(|(_, _, deadline)| *deadline == 0 || !lives.is_over(*deadline));
    requests.add_in_pieces(b"HSET", key, live().flat_map(|(field, value, _)| [field, value]), 2);
    let mut lost = 0;
    for (field, _, deadline) in live().filter(|(_, _, deadline)| *deadline != 0) {
        if holding.knows(b"hpexpireat") {
            let deadline = lives.deadline(deadline).to_string();
            requests.add(&[b"HPEXPIREAT", key, deadline.as_bytes(), b"FIELDS", b"1", field]);
        } else {
            lost += 1;
        }
    }
    lost
}

/// Bytes of elements in one request.
const PIECE_BYTES: usize = 256 * 1024;
/// Words in one request.
const PIECE_WORDS: usize = 1024;
/// Bytes of requests up to which a collection is made in one transaction.
const ATOMIC_BYTES_MAX: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &[&str] = &["set", "rpush", "sadd", "zadd", "hset"];

    fn entry(object: Object, deadline: Option<u64>) -> Entry {
        Entry { key: b"k".to_vec(), deadline, object, ..Entry::default() }
    }

    /// The requests as lines.
    fn lines(entry: &Entry, holding: &Holding) -> (Vec<String>, Written) {
        lines_with(entry, holding, Lives::Own { now: 1000 })
    }

    fn lines_with(entry: &Entry, holding: &Holding, lives: Lives) -> (Vec<String>, Written) {
        let mut out = Vec::new();
        let written = write(entry, entry.object.kind(), holding, lives, &mut out);
        let (mut parser, mut rest, mut lines) = (resp::Parser::new(), &out[..], Vec::new());
        let limits = resp::Limits { bulk_bytes_max: 1 << 30, authenticated: true };
        while let Ok(resp::Progress::Request(length)) = parser.next(rest, limits) {
            let words: Vec<_> = parser.arguments(rest).map(String::from_utf8_lossy).collect();
            lines.push(words.join(" "));
            rest = &rest[length..];
        }
        (lines, written)
    }

    #[test]
    fn every_kind_has_its_commands() {
        let mut holding = Holding::knowing(ALL);
        let texts: Texts = [b"a".as_slice(), b"b"].into_iter().collect();
        let mut hash = Hash::default();
        hash.push(b"f", b"v", 0);
        hash.push(b"g", b"w", 5000);
        let sorted = SortedSet { members: texts.clone(), scores: vec![1.5, f64::NEG_INFINITY] };
        for (object, deadline, expected, replies) in [
            (Object::String(b"v".to_vec()), None, &["SET k v"][..], 1),
            (Object::String(b"v".to_vec()), Some(2000), &["SET k v PXAT 2000"], 1),
            (Object::List(texts.clone()), None, &["RPUSH k a b"], 1),
            (Object::Set(texts.clone()), Some(2000), &["MULTI", "SADD k a b", "PEXPIREAT k 2000", "EXEC"], 4),
            (Object::SortedSet(sorted), None, &["ZADD k 1.5 a -inf b"], 1),
            (Object::Hash(hash), None, &["HSET k f v g w"], 1),
        ] {
            let (lines, written) = lines(&entry(object, deadline), &holding);
            assert_eq!(lines, expected);
            assert!(matches!(written, Written::Requests { replies: found, .. } if found == replies), "{written:?}");
        }
        // What may stand there already goes first.
        holding.keys.insert(0, 1);
        let (lines, _) = lines(&entry(Object::Set(texts), None), &holding);
        assert_eq!(lines, ["MULTI", "DEL k", "SADD k a b", "EXEC"]);
    }

    #[test]
    fn fields_that_expire_are_told_or_counted() {
        let mut hash = Hash::default();
        hash.push(b"over", b"v", 1000);
        hash.push(b"g", b"w", 5000);
        let one = entry(Object::Hash(hash), None);
        let (_, written) = lines(&one, &Holding::knowing(ALL));
        assert_eq!(written, Written::Requests { replies: 1, loses_deadlines: 1 });
        let (lines, _) = lines(&one, &Holding::knowing(&["hset", "hpexpireat"]));
        assert_eq!(lines, ["MULTI", "HSET k g w", "HPEXPIREAT k 5000 FIELDS 1 g", "EXEC"]);
    }

    /// The source has not said so yet, and may have renewed it since.
    #[test]
    fn what_is_over_comes_too_while_its_end_is_the_source_s_to_tell() {
        let holding = Holding::knowing(&["set", "hset", "hpexpireat"]);
        let (lines, _) = lines_with(&entry(Object::String(b"v".to_vec()), Some(1000)), &holding, Lives::Held);
        assert_eq!(lines, ["SET k v PXAT 35000000001000"]);
        let mut hash = Hash::default();
        hash.push(b"f", b"v", 7);
        let (lines, _) = lines_with(&entry(Object::Hash(hash), Some(9)), &holding, Lives::Held);
        let expected = "MULTI|HSET k f v|HPEXPIREAT k 35000000000007 FIELDS 1 f|PEXPIREAT k 35000000000009|EXEC";
        assert_eq!(lines.join("|"), expected);
    }

    #[test]
    fn what_cannot_be_held_is_skipped_for_a_reason() {
        let holding = Holding::knowing(ALL);
        let string = || Object::String(b"v".to_vec());
        let over = || {
            let mut hash = Hash::default();
            hash.push(b"f", b"v", 1000);
            Object::Hash(hash)
        };
        for (entry, reason) in [
            (entry(string(), Some(1000)), Skip::Expired),
            (Entry { database: 16, ..entry(string(), None) }, Skip::Database),
            (entry(Object::Module("x".to_owned()), None), Skip::Kind(Kind::Module)),
            (entry(Object::Stream(Box::default()), None), Skip::Kind(Kind::Stream)),
            (entry(Object::Set(Texts::new()), None), Skip::Empty),
            (entry(over(), None), Skip::Expired),
        ] {
            assert_eq!(lines(&entry, &holding).1, Written::Skipped(reason));
        }
    }

    #[test]
    fn large_collections_go_in_pieces() {
        let element = vec![b'x'; 1000];
        let texts: Texts = std::iter::repeat_n(element.as_slice(), 9000).collect();
        let (lines, written) = lines(&entry(Object::List(texts), None), &Holding::knowing(ALL));
        assert!(lines.len() > 30 && lines.iter().all(|line| line.starts_with("RPUSH k ")), "{}", lines.len());
        let words: usize = lines.iter().map(|line| line.split(' ').count() - 2).sum();
        assert_eq!(words, 9000);
        assert!(matches!(written, Written::Requests { replies, .. } if replies == lines.len() as u64));
    }
}

//! From the source's stream of commands to transactions at the target.
//!
//! The stream is a replica's: the effects of commands, in order, absolute where it matters. Commands are sent on as they
//! came, byte for byte, but for deadlines, which are held. Several are put into one transaction that ends by noting the
//! place in the stream, so that every command takes effect once, whenever and however an import is interrupted. The
//! exception is a transaction that the target refuses to queue: its commands go one by one and the place is noted after
//! them, so an interruption among them repeats those that had arrived.

use super::address::Source;
use super::holding::Holding;
use super::link::Place;
use super::lives;
use crate::failure::{Failure, Result};
use resp::write_request;
use resp::{Limits, Parser, Progress};
use std::collections::BTreeMap;

/// What the stream has brought so far.
#[derive(Clone, Debug, Default)]
pub struct Passed {
    /// Commands that were sent on.
    pub commands: u64,
    /// Those that the target does not know, by name.
    pub unknown: BTreeMap<String, u64>,
    /// Those in a database that the target does not have.
    pub elsewhere: u64,
}

/// Takes the stream apart.
pub struct Commands<'h> {
    source: &'h Source,
    holding: &'h Holding,
    parser: Parser,
    /// The database the stream is in.
    database: u32,
    in_transaction: bool,
    pub(super) passed: Passed,
    /// The source wants to know how far we are.
    pub(super) asks_for_place: bool,
    name: Vec<u8>,
}

/// Commands that are sent together.
#[derive(Debug, Default)]
pub struct Group {
    /// The requests, without those that begin and end the transaction.
    pub requests: Vec<u8>,
    /// How many they are.
    pub count: u64,
    /// Bytes of the stream that it stands for, those of commands that are not sent included.
    pub bytes: u64,
    /// The target is brought to this database first.
    database: Option<u32>,
}

/// What a command is to this.
enum Meaning {
    Select,
    Begin,
    End,
    Replication,
    /// Nothing that stays: `PING`, messages to subscribers.
    Passing,
    Data,
}

/// What a command that may name another database does to the one that is followed.
enum Reach {
    /// It is about the database it came in.
    Here,
    /// This key goes to a database that is not followed.
    Leaves(Vec<u8>),
    /// It changes nothing in the database that is followed.
    Elsewhere,
    /// Something comes to the database that is followed from one that is not.
    Arrives,
}

impl<'h> Commands<'h> {
    /// At a place of a stream that is in this database.
    pub fn new(source: &'h Source, holding: &'h Holding, database: u32) -> Self {
        Self {
            source,
            holding,
            parser: Parser::new(),
            database,
            in_transaction: false,
            passed: Passed::default(),
            asks_for_place: false,
            name: Vec::new(),
        }
    }

    /// Takes whole commands from the start of `received` into `group`, until nothing whole is left or the group is full;
    /// how many bytes were taken. A transaction of the source is never divided.
    pub fn take(&mut self, received: &[u8], group: &mut Group) -> Result<usize> {
        let mut taken = 0;
        loop {
            let is_full = group.count >= GROUP_COMMANDS || group.requests.len() >= GROUP_BYTES;
            if is_full && !self.in_transaction {
                return Ok(taken);
            }
            let rest = &received[taken..];
            let length = match self.parser.next(rest, LIMITS) {
                Ok(Progress::Request(length)) => length,
                Ok(Progress::Incomplete(_)) => return Ok(taken),
                Err(error) => {
                    let what = format!("the stream of commands is not understood: {error}");
                    return Err(Failure::Arguments(format!(
                        "{} sends what is no command; {what}",
                        self.source.address
                    )));
                }
            };
            self.command(&rest[..length], group)?;
            taken += length;
            group.bytes += length as u64;
        }
    }

    /// The database the stream is in.
    pub fn database(&self) -> u32 {
        self.database
    }

    /// Whether a group may end here.
    pub fn is_between_transactions(&self) -> bool {
        !self.in_transaction
    }

    fn command(&mut self, bytes: &[u8], group: &mut Group) -> Result<()> {
        // A line that is no list is an empty one, by which the source says that it is there.
        let words = self.parser.borrowed_arguments(bytes).map(|mut words| (words.next(), words.next()));
        let Some((Some(name), first)) = words else { return Ok(()) };
        let first = first.unwrap_or_default();
        self.name.clear();
        self.name.extend(name.iter().map(u8::to_ascii_lowercase));
        match meaning(&self.name) {
            Meaning::Select => {
                let number = std::str::from_utf8(first).ok().and_then(|text| text.parse().ok());
                self.database = number.ok_or_else(|| Failure::Protocol { address: self.source.address.clone() })?;
            }
            Meaning::Begin => self.in_transaction = true,
            Meaning::End => self.in_transaction = false,
            Meaning::Replication => self.asks_for_place |= first.eq_ignore_ascii_case(b"getack"),
            Meaning::Passing => {}
            Meaning::Data => self.data(bytes, group),
        }
        Ok(())
    }

    fn data(&mut self, bytes: &[u8], group: &mut Group) {
        let is_wanted = self.source.wants(self.database);
        let is_flush_of_all = self.name == b"flushall";
        // Functions are of no database.
        let reach = if self.source.database.is_some() { self.reach(bytes) } else { Reach::Here };
        match (is_wanted, reach) {
            (true, Reach::Here) => {}
            // It is gone from here, whatever is where it went.
            (true, Reach::Leaves(key)) => return self.send_on(&[b"DEL", &key], group),
            (true, Reach::Elsewhere) => return,
            // What came is in the source's other database, which is not here: that is a loss, and said.
            (_, Reach::Arrives) => return self.note_unknown(),
            (false, _) if is_flush_of_all || self.name == b"function" => {}
            (false, _) => return,
        }
        if self.database >= self.holding.databases {
            self.passed.elsewhere += 1;
            return;
        }
        if !self.holding.knows(&self.name) {
            return self.note_unknown();
        }
        // Only one database is followed: then all of the source is that one.
        let database = if is_flush_of_all { self.source.database.unwrap_or(self.database) } else { self.database };
        group.select(database);
        if is_flush_of_all && self.source.database.is_some() {
            write_request(&mut group.requests, &[b"FLUSHDB"]);
        } else if !self.hold(bytes, group) {
            group.requests.extend_from_slice(bytes);
        }
        group.count += 1;
        self.passed.commands += 1;
    }

    /// Sends a command on with its deadline held, if it names one.
    fn hold(&self, bytes: &[u8], group: &mut Group) -> bool {
        if !lives::may_name_a_deadline(&self.name) {
            return false;
        }
        let words: Vec<&[u8]> = self.parser.borrowed_arguments(bytes).into_iter().flatten().collect();
        lives::hold(&self.name, &words, &mut group.requests)
    }

    /// Sends `words` on instead of the command that came.
    fn send_on(&mut self, words: &[&[u8]], group: &mut Group) {
        group.select(self.database);
        write_request(&mut group.requests, words);
        group.count += 1;
        self.passed.commands += 1;
    }

    fn note_unknown(&mut self) {
        let name = String::from_utf8_lossy(&self.name).to_ascii_uppercase();
        if self.passed.unknown.len() < NAMES_MAX || self.passed.unknown.contains_key(&name) {
            *self.passed.unknown.entry(name).or_default() += 1;
        } else {
            *self.passed.unknown.entry("others".to_owned()).or_default() += 1;
        }
    }

    /// Whether a command is about the database it came in, where only one is followed.
    fn reach(&self, bytes: &[u8]) -> Reach {
        if !matches!(self.name.as_slice(), b"move" | b"copy" | b"swapdb") {
            return Reach::Here;
        }
        let words: Vec<&[u8]> = self.parser.borrowed_arguments(bytes).into_iter().flatten().collect();
        let wants = |word: &&[u8]| str::from_utf8(word).ok().and_then(|text| text.parse().ok()) == self.source.database;
        match (self.name.as_slice(), words.as_slice()) {
            (b"swapdb", [_, both @ ..]) if both.iter().any(wants) => Reach::Arrives,
            (b"swapdb", _) => Reach::Elsewhere,
            (b"move", [_, _, database]) if wants(database) => Reach::Arrives,
            (b"move", [_, key, _]) => Reach::Leaves(key.to_vec()),
            (_, [_, _, _, options @ ..]) => {
                let named = options.windows(2).find(|pair| pair[0].eq_ignore_ascii_case(b"db"));
                match named.map(|pair| wants(&pair[1])) {
                    Some(true) if !self.source.wants(self.database) => Reach::Arrives,
                    Some(false) => Reach::Elsewhere,
                    Some(true) | None => Reach::Here,
                }
            }
            (..) => Reach::Here,
        }
    }
}

impl Group {
    /// Brings the target to this database, if it is not in it.
    fn select(&mut self, database: u32) {
        if self.database != Some(database) {
            write_request(&mut self.requests, &[b"SELECT", database.to_string().as_bytes()]);
            self.count += 1;
            self.database = Some(database);
        }
    }

    /// The group as one transaction that ends by noting `place` under `marker`, and how many replies answer it.
    pub fn transaction(&self, marker: &str, place: &Place, out: &mut Vec<u8>) -> u64 {
        write_request(out, &[b"MULTI"]);
        out.extend_from_slice(&self.requests);
        write_request(out, &[b"SELECT", b"0"]);
        let seconds = super::file::MARKER_SECONDS.as_bytes();
        write_request(out, &[b"SET", marker.as_bytes(), place.text().as_bytes(), b"EX", seconds]);
        write_request(out, &[b"EXEC"]);
        self.count + 4
    }

    /// Ready for the next.
    pub fn clear(&mut self) {
        self.requests.clear();
        (self.count, self.bytes, self.database) = (0, 0, None);
    }
}

fn meaning(name: &[u8]) -> Meaning {
    match name {
        b"select" => Meaning::Select,
        b"multi" => Meaning::Begin,
        b"exec" => Meaning::End,
        b"replconf" => Meaning::Replication,
        b"ping" | b"publish" | b"spublish" => Meaning::Passing,
        _ => Meaning::Data,
    }
}

/// Commands after which a transaction is closed.
const GROUP_COMMANDS: u64 = 256;
/// Bytes of commands after which a transaction is closed.
const GROUP_BYTES: usize = 256 * 1024;
/// Different names that are counted one by one.
const NAMES_MAX: usize = 64;
/// The source is a server and may send whatever a client may.
const LIMITS: Limits = Limits { bulk_bytes_max: 512 << 20, authenticated: true };

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(lines: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for line in lines {
            let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
            write_request(&mut bytes, &words);
        }
        bytes
    }

    fn lines(mut bytes: &[u8]) -> Vec<String> {
        let (mut parser, mut lines) = (Parser::new(), Vec::new());
        while let Ok(Progress::Request(length)) = parser.next(bytes, LIMITS) {
            lines.push(parser.arguments(bytes).map(String::from_utf8_lossy).collect::<Vec<_>>().join(" "));
            bytes = &bytes[length..];
        }
        lines
    }

    fn taken(source: &str, sent: &[&str]) -> (Vec<String>, Passed) {
        let (source, holding) =
            (source.parse().unwrap(), Holding::knowing(&["set", "del", "copy", "move", "flushall", "flushdb"]));
        let mut commands = Commands::new(&source, &holding, 0);
        let (bytes, mut group) = (stream(sent), Group::default());
        assert_eq!(commands.take(&bytes, &mut group).unwrap(), bytes.len());
        assert_eq!(group.bytes, bytes.len() as u64);
        assert_eq!(group.count as usize, lines(&group.requests).len());
        (lines(&group.requests), commands.passed)
    }

    #[test]
    fn commands_go_on_in_order_and_in_their_database() {
        let sent = ["SELECT 0", "SET a 1", "PING", "SELECT 3", "SET b 2", "REPLCONF GETACK *", "del a", "PUBLISH c m"];
        let (lines, passed) = taken("redis://h", &sent);
        assert_eq!(lines, ["SELECT 0", "SET a 1", "SELECT 3", "SET b 2", "del a"]);
        assert_eq!(passed.commands, 3);
    }

    #[test]
    fn deadlines_are_held() {
        let (lines, passed) = taken("redis://h", &["SET a 1 PXAT 5", "SET b 1", "set c 1 EX 5 KEEPTTL"]);
        let expected = ["SELECT 0", "SET a 1 PXAT 35000000000005", "SET b 1", "set c 1 EX 35000000005 KEEPTTL"];
        assert_eq!((lines.as_slice(), passed.commands), (&expected.map(str::to_owned)[..], 3));
    }

    #[test]
    fn what_the_target_does_not_know_or_have_is_counted() {
        let (lines, passed) =
            taken("redis://h", &["SELECT 1", "RPUSH l a", "rpush l b", "SET k v", "SELECT 16", "SET k v"]);
        assert_eq!(lines, ["SELECT 1", "SET k v"]);
        assert_eq!(passed.unknown, BTreeMap::from([("RPUSH".to_owned(), 2)]));
        assert_eq!(passed.elsewhere, 1);
    }

    #[test]
    fn one_database_of_a_source_can_be_followed_alone() {
        let sent = ["SELECT 0", "SET a 1", "FLUSHALL", "SELECT 2", "SET b 2", "SELECT 0", "FLUSHDB"];
        let (lines, _) = taken("redis://h:1/2", &sent);
        assert_eq!(lines, ["SELECT 2", "FLUSHDB", "SET b 2"]);
    }

    #[test]
    fn what_goes_between_databases_is_told_where_one_is_followed_alone() {
        let from_elsewhere =
            ["SELECT 0", "MOVE a 2", "COPY a b DB 2 REPLACE", "SWAPDB 2 5", "MOVE a 3", "COPY a b", "SWAPDB 4 5"];
        let (lines, passed) = taken("redis://h:1/2", &from_elsewhere);
        assert_eq!(lines, [""; 0]);
        let lost = ["COPY", "MOVE", "SWAPDB"].map(|name| (name.to_owned(), 1));
        assert_eq!(passed.unknown, BTreeMap::from(lost));
        let from_here = ["SELECT 2", "SET a 1", "MOVE a 3", "COPY a b DB 3", "COPY a b DB 2", "SWAPDB 3 4", "COPY a c"];
        let (lines, passed) = taken("redis://h:1/2", &from_here);
        assert_eq!(lines, ["SELECT 2", "SET a 1", "DEL a", "COPY a b DB 2", "COPY a c"]);
        assert!(passed.unknown.is_empty());
        // Where everything is followed they go on as they came.
        let (lines, _) = taken("redis://h", &["SELECT 0", "MOVE a 2"]);
        assert_eq!(lines, ["SELECT 0", "MOVE a 2"]);
    }

    #[test]
    fn transactions_of_the_source_stay_whole_and_groups_end_between_them() {
        let (source, holding) = ("redis://h".parse().unwrap(), Holding::knowing(&["set"]));
        let mut commands = Commands::new(&source, &holding, 0);
        let many = vec!["SET a 1"; 300];
        let bytes = stream(&[&["MULTI"], &many[..], &["EXEC", "SET b 1"]].concat());
        let mut group = Group::default();
        // A part of it: nothing ends inside.
        let first = commands.take(&bytes[..bytes.len() / 2], &mut group).unwrap();
        assert!(!commands.is_between_transactions());
        let taken = first + commands.take(&bytes[first..], &mut group).unwrap();
        assert!(commands.is_between_transactions());
        assert_eq!(group.count, 301);
        assert_eq!(lines(&bytes[taken..]), ["SET b 1"]);
        let place = Place { history: "h".to_owned(), offset: 9, database: 5, writer: "a-1".to_owned() };
        let mut out = Vec::new();
        assert_eq!(group.transaction("m", &place, &mut out), 305);
        let all = lines(&out);
        assert_eq!((all.len(), all[0].as_str()), (305, "MULTI"));
        assert_eq!(all[302..], ["SELECT 0", "SET m h 9 5 a-1 EX 604800", "EXEC"]);
    }
}

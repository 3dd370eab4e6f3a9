//! `DUMP` and `RESTORE`: a value as bytes and back, in the format of Redis' files.
//!
//! A counter is dumped as its text, so what is restored is a plain value: increments that others make later add up from
//! there, those that nobody here had observed stay where they were made.

mod stream;

use super::{Call, Command, CommandError, Flags, Group, Keys, Merge, number};
use crdt::UnixMillis;
use keyspace::{Access, Database, End, EventClass, Kind, Lifetime, NewLifetime, Score, WrongKind};
use rdb::payload::{self, Payload};
use rdb::{Hash, Object, RdbError, SortedSet, Texts};

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "dump",
        arity: 2,
        flags: Flags::READONLY,
        keys: Keys::ONE,
        handler: dump,
        since: "2.6.0",
        summary: "Return a serialized version of the value stored at the specified key",
        group: Group::Generic,
        complexity: "O(N) where N is the number of bytes and elements of the value",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "restore",
        arity: -4,
        flags: Flags::WRITE.union(Flags::DENY_OOM).union(Flags::DANGEROUS),
        keys: Keys::ONE,
        handler: restore,
        since: "2.6.0",
        summary: "Create a key using the provided serialized value, previously obtained using DUMP",
        group: Group::Generic,
        complexity: "O(N) where N is the number of bytes and elements of the value",
        merge: Merge::Writes(
            "As the writes that make the value: RESTORE ‖ RESTORE of strings: the later one stands; of hashes and sets: fields and members of both; with REPLACE, what its region had observed goes; of two TTLs the longer life stands",
        ),
        subcommands: &[],
    },
];

fn dump(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let db = call.db();
    match payload_of(call.store, db, args[1])? {
        Some(payload) => call.reply.bulk(&payload),
        None => call.reply.null(),
    }
    Ok(())
}

/// What a key holds, as `RESTORE` takes it.
pub(crate) fn payload_of(store: &mut Access<'_>, db: Database, key: &[u8]) -> Result<Option<Vec<u8>>, CommandError> {
    let Some(object) = object_of(store, db, key)? else { return Ok(None) };
    let mut bytes = Vec::new();
    payload::write(&mut bytes, &object).map_err(|_| CommandError::Plain("ERR the value has no serialized form"))?;
    Ok(Some(bytes))
}

/// What a key holds, in the form in which it is serialized.
pub(crate) fn object_of(store: &mut Access<'_>, db: Database, key: &[u8]) -> Result<Option<Object>, WrongKind> {
    let object = match store.kind(db, key) {
        None => None,
        Some(Kind::String) => store.string(db, key)?.map(|value| Object::String(value.into_owned())),
        Some(Kind::Hash) => store.hash(db, key)?.map(|fields| {
            let mut hash = Hash::default();
            for (field, value, lifetime) in fields.iter_with_lives() {
                hash.push(field, &value, lifetime.to_word());
            }
            Object::Hash(hash)
        }),
        Some(Kind::Set) => store.set(db, key)?.map(|members| {
            let mut texts = Texts::new();
            members.iter().for_each(|(member, _)| texts.push(member));
            Object::Set(texts)
        }),
        Some(Kind::SortedSet) => store.sorted_set(db, key)?.map(|elements| {
            let mut sorted = SortedSet::default();
            // Redis takes the order of a small one on trust.
            for (member, score) in elements.in_order().range(0..usize::MAX, false) {
                sorted.members.push(member);
                sorted.scores.push(score);
            }
            Object::SortedSet(sorted)
        }),
        Some(Kind::List) => store.list(db, key)?.map(|list| {
            let mut texts = Texts::new();
            list.iter().for_each(|element| texts.push(&element));
            Object::List(texts)
        }),
        Some(Kind::Stream) => stream::object(store, db, key)?.map(|stream| Object::Stream(Box::new(stream))),
    };
    Ok(object)
}

/// The options of `RESTORE`.
#[derive(Default)]
struct Options {
    replaces: bool,
    is_absolute: bool,
}

impl Options {
    fn parse(args: &[&[u8]]) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let (mut has_idle, mut has_frequency) = (false, false);
        let mut rest = args.iter();
        while let Some(word) = rest.next() {
            let has_value = !rest.as_slice().is_empty();
            if word.eq_ignore_ascii_case(b"replace") {
                options.replaces = true;
            } else if word.eq_ignore_ascii_case(b"absttl") {
                options.is_absolute = true;
            } else if word.eq_ignore_ascii_case(b"idletime") && has_value && !has_frequency {
                has_idle = true;
                let idle = number::integer(rest.next().copied().unwrap_or_default())?;
                if idle < 0 {
                    return Err(CommandError::Plain("ERR Invalid IDLETIME value, must be >= 0"));
                }
            } else if word.eq_ignore_ascii_case(b"freq") && has_value && !has_idle {
                has_frequency = true;
                let frequency = number::integer(rest.next().copied().unwrap_or_default())?;
                if !(0..=255).contains(&frequency) {
                    return Err(CommandError::Plain("ERR Invalid FREQ value, must be >= 0 and <= 255"));
                }
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(options)
    }
}

fn restore(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key, bytes) = (call.db(), args[1], args[3]);
    let options = Options::parse(&args[4..])?;
    let exists = call.store.kind(db, key).is_some();
    if exists && !options.replaces {
        return Err(CommandError::Plain("BUSYKEY Target key name already exists."));
    }
    let time = number::integer(args[2])?;
    let time = u64::try_from(time).map_err(|_| CommandError::Plain("ERR Invalid TTL value, must be >= 0"))?;
    let payload =
        Payload::verify(bytes).map_err(|_| CommandError::Plain("ERR DUMP payload version or checksum are wrong"))?;
    let bad = |error| match error {
        RdbError::Expanded(_) => CommandError::Detailed(format!("ERR Bad data format: {error}")),
        _ => CommandError::Plain("ERR Bad data format"),
    };
    // Before anything of the value is read: what is not offered costs no memory.
    check_kind(payload.kind().map_err(bad)?)?;
    let object = payload.object().map_err(bad)?;
    check(&object)?;
    if exists {
        call.store.delete(db, key);
    }
    let now = call.now();
    let lifetime = match time {
        0 => Lifetime::Never,
        deadline if options.is_absolute => Lifetime::Until(deadline),
        time => Lifetime::Until(now.saturating_add(time)),
    };
    if !is_over(lifetime, now) {
        put(call, key, &object, lifetime)?;
        call.store.note_created(db, key);
        call.store.note(EventClass::GENERIC, "restore", db, key);
    } else if exists {
        call.store.note(EventClass::GENERIC, "del", db, key);
    }
    call.reply.ok();
    Ok(())
}

/// Whether values of this kind can be held here.
fn check_kind(kind: rdb::Kind) -> Result<(), CommandError> {
    match kind {
        rdb::Kind::String
        | rdb::Kind::Hash
        | rdb::Kind::Set
        | rdb::Kind::SortedSet
        | rdb::Kind::List
        | rdb::Kind::Stream => Ok(()),
        rdb::Kind::Module => Err(CommandError::Detailed(format!(
            "ERR values of the type {} are not offered by this version",
            kind.name()
        ))),
    }
}

/// Whether the value can be held here.
fn check(object: &Object) -> Result<(), CommandError> {
    match object {
        Object::Hash(_) | Object::Set(_) | Object::SortedSet(_) | Object::List(_) if object.is_empty() => {
            Err(CommandError::Plain("ERR Bad data format"))
        }
        Object::SortedSet(sorted) if sorted.scores.iter().any(|score| score.is_nan()) => {
            Err(CommandError::Plain("ERR Bad data format"))
        }
        Object::Stream(stream) if !stream::is_valid(stream) => Err(CommandError::Plain("ERR Bad data format")),
        Object::String(_)
        | Object::Hash(_)
        | Object::Set(_)
        | Object::SortedSet(_)
        | Object::List(_)
        | Object::Stream(_) => Ok(()),
        Object::Module(_) => check_kind(object.kind()),
    }
}

fn put(call: &mut Call<'_, '_>, key: &[u8], object: &Object, lifetime: Lifetime) -> Result<(), CommandError> {
    let db = call.db();
    match object {
        Object::String(value) => {
            call.store.put_string(db, key, value, NewLifetime::Set(lifetime));
            return Ok(());
        }
        Object::Hash(hash) => {
            // Fields that are over stay away, and with them a hash that has no others.
            let now = call.now();
            for (field, value, deadline) in hash.iter().filter(|(_, _, end)| !is_over(Lifetime::from_word(*end), now)) {
                let lifetime = NewLifetime::Set(Lifetime::from_word(deadline));
                call.store.put_field_for(db, key, field, value, lifetime)?;
            }
        }
        Object::Set(members) => {
            for member in members.iter() {
                call.store.add_member(db, key, member)?;
            }
        }
        Object::SortedSet(sorted) => {
            for (member, &score) in sorted.members.iter().zip(&sorted.scores) {
                call.store.put_score(db, key, member, Score::new(score).unwrap_or_default())?;
            }
        }
        Object::List(elements) => {
            call.store.push(db, key, End::Tail, elements.iter())?;
        }
        Object::Stream(stream) => stream::put(call.store, db, key, stream)?,
        Object::Module(_) => return check(object),
    }
    if lifetime != Lifetime::Never {
        call.store.set_lifetime(db, key, lifetime);
    }
    Ok(())
}

fn is_over(lifetime: Lifetime, now: UnixMillis) -> bool {
    match lifetime {
        Lifetime::Never => false,
        Lifetime::Until(deadline) => deadline <= now,
    }
}

#[cfg(test)]
mod tests {
    use crate::testing::{Caller, STARTED_AT, node};
    use rdb::{Object, SortedSet, Texts, payload};
    use std::sync::Arc;

    fn restore(caller: &mut Caller, key: &str, time: &str, payload: &[u8], options: &[&str]) -> String {
        let mut words: Vec<&[u8]> = vec![b"RESTORE", key.as_bytes(), time.as_bytes(), payload];
        words.extend(options.iter().map(|option| option.as_bytes()));
        String::from_utf8_lossy(&caller.call_bytes(&words)).into_owned()
    }

    /// The payload that `DUMP` answers.
    fn dump(caller: &mut Caller, key: &str) -> Vec<u8> {
        let reply = caller.call_bytes(&[b"DUMP", key.as_bytes()]);
        let start = reply.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        reply[start..reply.len() - 2].to_vec()
    }

    #[test]
    fn every_kind_comes_back() {
        let mut caller = Caller::new(&Arc::new(node()));
        caller.call("SET string hello");
        caller.call("INCRBY counter 70000");
        caller.call("HSET hash f v n 5");
        caller.call("HINCRBY hash n 2");
        caller.call("SADD numbers 3 1 2");
        caller.call("SADD words a b");
        caller.call("RPUSH list a 1 -70000 b");
        caller.call("ZADD scores 2 b 1.5 a -inf c");
        let cases = [
            ("string", "GET", "$5\r\nhello\r\n"),
            ("counter", "GET", "$5\r\n70000\r\n"),
            ("hash", "HGETALL", "*4\r\n$1\r\nf\r\n$1\r\nv\r\n$1\r\nn\r\n$1\r\n7\r\n"),
            ("numbers", "SMISMEMBER", "*3\r\n:1\r\n:1\r\n:0\r\n"),
            ("words", "SCARD", ":2\r\n"),
            ("list", "LRANGE", "*4\r\n$1\r\na\r\n$1\r\n1\r\n$6\r\n-70000\r\n$1\r\nb\r\n"),
            ("scores", "ZMSCORE", "*3\r\n$4\r\n-inf\r\n$3\r\n1.5\r\n$1\r\n2\r\n"),
        ];
        for (key, read, expected) in cases {
            let payload = dump(&mut caller, key);
            assert_eq!(restore(&mut caller, "copy", "0", &payload, &["REPLACE"]), "+OK\r\n");
            let arguments = match read {
                "SMISMEMBER" => " 1 3 4",
                "LRANGE" => " 0 -1",
                "ZMSCORE" => " c a b",
                _ => "",
            };
            assert_eq!(caller.call(&format!("{read} copy{arguments}")), expected, "{key}");
            assert_eq!(caller.call("TTL copy"), ":-1\r\n");
        }
        assert_eq!(caller.call("DUMP none"), "$-1\r\n");
        // A counter that came back counts on.
        let payload = dump(&mut caller, "counter");
        restore(&mut caller, "counter", "0", &payload, &["REPLACE"]);
        assert_eq!(caller.call("INCR counter"), ":70001\r\n");
    }

    #[test]
    fn refusals_come_in_the_order_and_the_words_of_redis() {
        let mut caller = Caller::new(&Arc::new(node()));
        caller.call("SET there 1");
        let good = dump(&mut caller, "there");
        let bad = b"x".as_slice();
        // The case, the key, the payload, the words behind it and the answer.
        type Case<'c> = (&'c str, &'c str, &'c [u8], &'c [&'c str], &'c str);
        let cases: [Case<'_>; 14] = [
            ("there", "0", bad, &[], "-BUSYKEY Target key name already exists.\r\n"),
            ("there", "0", bad, &["REPLACE"], "-ERR DUMP payload version or checksum are wrong\r\n"),
            ("new", "0", bad, &[], "-ERR DUMP payload version or checksum are wrong\r\n"),
            ("new", "-1", bad, &[], "-ERR Invalid TTL value, must be >= 0\r\n"),
            ("new", "x", bad, &[], "-ERR value is not an integer or out of range\r\n"),
            ("new", "0", bad, &["IDLETIME", "-1"], "-ERR Invalid IDLETIME value, must be >= 0\r\n"),
            ("new", "0", bad, &["IDLETIME", "x"], "-ERR value is not an integer or out of range\r\n"),
            ("new", "0", bad, &["FREQ", "256"], "-ERR Invalid FREQ value, must be >= 0 and <= 255\r\n"),
            ("new", "0", bad, &["FREQ"], "-ERR syntax error\r\n"),
            ("new", "0", bad, &["FREQ", "1", "IDLETIME", "1"], "-ERR syntax error\r\n"),
            ("new", "0", bad, &["NONSENSE"], "-ERR syntax error\r\n"),
            ("new", "0", &good, &["FREQ", "255", "ABSTTL"], "+OK\r\n"),
            ("there", "0", &good, &["idletime", "5", "replace"], "+OK\r\n"),
            ("new", "0", &good, &[], "-BUSYKEY Target key name already exists.\r\n"),
        ];
        for (key, time, payload, options, expected) in cases {
            assert_eq!(restore(&mut caller, key, time, payload, options), expected, "{key} {time} {options:?}");
        }
    }

    #[test]
    fn deadlines_are_relative_or_absolute_and_those_that_passed_leave_nothing() {
        let mut caller = Caller::new(&Arc::new(node()));
        caller.call("SADD s a");
        let payload = dump(&mut caller, "s");
        assert_eq!(restore(&mut caller, "one", "5000", &payload, &[]), "+OK\r\n");
        assert_eq!(caller.call("PEXPIRETIME one"), format!(":{}\r\n", STARTED_AT + 5000));
        let deadline = (STARTED_AT + 7000).to_string();
        assert_eq!(restore(&mut caller, "other", &deadline, &payload, &["ABSTTL"]), "+OK\r\n");
        assert_eq!(caller.call("PTTL other"), ":7000\r\n");
        assert_eq!(restore(&mut caller, "other", "7", &payload, &["ABSTTL", "REPLACE"]), "+OK\r\n");
        assert_eq!(caller.call("EXISTS other"), ":0\r\n");
    }

    #[test]
    fn what_cannot_be_held_is_refused_by_name() {
        let mut caller = Caller::new(&Arc::new(node()));
        let refusal = "-ERR values of the type module are not offered by this version\r\n";
        let module = [7, 129, 133, 212, 161, 178, 195, 212, 228, 1, 0, 10, 0, 72, 129, 205, 72, 51, 87, 7, 170];
        assert_eq!(restore(&mut caller, "k", "0", &module, &[]), refusal);
        // By its first byte alone: this one is damaged behind it.
        let damaged = [7, 1, 1, 1, 10, 0, 129, 195, 174, 209, 212, 149, 52, 107];
        assert_eq!(restore(&mut caller, "k", "0", &damaged, &[]), refusal);
        let lost = SortedSet { members: [b"m".as_slice()].into_iter().collect(), scores: vec![f64::NAN] };
        let without = [Object::Set(Texts::new()), Object::List(Texts::new()), Object::SortedSet(SortedSet::default())];
        for object in without.into_iter().chain([Object::SortedSet(lost)]) {
            let mut payload = Vec::new();
            payload::write(&mut payload, &object).unwrap();
            assert_eq!(restore(&mut caller, "k", "0", &payload, &[]), "-ERR Bad data format\r\n", "{object:?}");
        }
        assert_eq!(caller.call("EXISTS k"), ":0\r\n");
    }
}

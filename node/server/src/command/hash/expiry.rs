//! Fields that end: how long they stay is set, lifted and shown here, and they are read and written with it. As in Redis
//! 7.4 and 8.0.

use crate::command::deadline::{self, Measure};
use crate::command::generic::expiry::Conditions;
use crate::command::number;
use crate::command::pairs::last_of_each;
use crate::command::{Call, Command, CommandError, Flags, Group, Keys, Merge};
use crdt::UnixMillis;
use keyspace::{EventClass, Lifetime, NewLifetime};

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "hexpire",
        arity: -6,
        flags: Flags::WRITE.union(Flags::DENY_OOM).union(Flags::FAST),
        keys: Keys::ONE,
        handler: hexpire,
        since: "7.4.0",
        summary: "Set expiry for hash fields using relative time to expire (seconds)",
        group: Group::Hash,
        complexity: "O(N) where N is the number of specified fields",
        merge: Merge::Writes(
            "HEXPIRE f ‖ HEXPIRE f, HPERSIST f or HSET f: the longest life of the field stands, no TTL is the longest; a deadline that has passed removes what its region had observed, so HEXPIRE ‖ write of the field: the write stands",
        ),
        subcommands: &[],
    },
    Command {
        name: "hpexpire",
        arity: -6,
        flags: Flags::WRITE.union(Flags::DENY_OOM).union(Flags::FAST),
        keys: Keys::ONE,
        handler: hpexpire,
        since: "7.4.0",
        summary: "Set expiry for hash fields using relative time to expire (milliseconds)",
        group: Group::Hash,
        complexity: "O(N) where N is the number of specified fields",
        merge: Merge::Writes(
            "HPEXPIRE f ‖ HPEXPIRE f, HPERSIST f or HSET f: the longest life of the field stands, no TTL is the longest; a deadline that has passed removes what its region had observed",
        ),
        subcommands: &[],
    },
    Command {
        name: "hexpireat",
        arity: -6,
        flags: Flags::WRITE.union(Flags::DENY_OOM).union(Flags::FAST),
        keys: Keys::ONE,
        handler: hexpireat,
        since: "7.4.0",
        summary: "Set expiry for hash fields using an absolute Unix timestamp (seconds)",
        group: Group::Hash,
        complexity: "O(N) where N is the number of specified fields",
        merge: Merge::Writes(
            "HEXPIREAT f ‖ HEXPIREAT f, HPERSIST f or HSET f: the longest life of the field stands, no TTL is the longest; a deadline that has passed removes what its region had observed",
        ),
        subcommands: &[],
    },
    Command {
        name: "hpexpireat",
        arity: -6,
        flags: Flags::WRITE.union(Flags::DENY_OOM).union(Flags::FAST),
        keys: Keys::ONE,
        handler: hpexpireat,
        since: "7.4.0",
        summary: "Set expiry for hash fields using an absolute Unix timestamp (milliseconds)",
        group: Group::Hash,
        complexity: "O(N) where N is the number of specified fields",
        merge: Merge::Writes(
            "HPEXPIREAT f ‖ HPEXPIREAT f, HPERSIST f or HSET f: the longest life of the field stands, no TTL is the longest; a deadline that has passed removes what its region had observed",
        ),
        subcommands: &[],
    },
    Command {
        name: "hpersist",
        arity: -5,
        flags: Flags::WRITE.union(Flags::FAST),
        keys: Keys::ONE,
        handler: hpersist,
        since: "7.4.0",
        summary: "Removes the expiration time for each specified field",
        group: Group::Hash,
        complexity: "O(N) where N is the number of specified fields",
        merge: Merge::Writes("HPERSIST f ‖ HEXPIRE f: no TTL stands, because it is the longest life"),
        subcommands: &[],
    },
    Command {
        name: "httl",
        arity: -5,
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::ONE,
        handler: httl,
        since: "7.4.0",
        summary: "Returns the TTL in seconds of a hash field",
        group: Group::Hash,
        complexity: "O(N) where N is the number of specified fields",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "hpttl",
        arity: -5,
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::ONE,
        handler: hpttl,
        since: "7.4.0",
        summary: "Returns the TTL in milliseconds of a hash field",
        group: Group::Hash,
        complexity: "O(N) where N is the number of specified fields",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "hexpiretime",
        arity: -5,
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::ONE,
        handler: hexpiretime,
        since: "7.4.0",
        summary: "Returns the expiration time of a hash field as a Unix timestamp, in seconds",
        group: Group::Hash,
        complexity: "O(N) where N is the number of specified fields",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "hpexpiretime",
        arity: -5,
        flags: Flags::READONLY.union(Flags::FAST),
        keys: Keys::ONE,
        handler: hpexpiretime,
        since: "7.4.0",
        summary: "Returns the expiration time of a hash field as a Unix timestamp, in milliseconds",
        group: Group::Hash,
        complexity: "O(N) where N is the number of specified fields",
        merge: Merge::Reads,
        subcommands: &[],
    },
    Command {
        name: "hgetex",
        arity: -5,
        flags: Flags::WRITE.union(Flags::FAST),
        keys: Keys::ONE,
        handler: hgetex,
        since: "8.0.0",
        summary: "Get the value of one or more fields of a given hash key, and optionally set their expiration",
        group: Group::Hash,
        complexity: "O(N) where N is the number of specified fields",
        merge: Merge::Writes("As HEXPIRE or HPERSIST of the fields that are there; without an option it only reads"),
        subcommands: &[],
    },
    Command {
        name: "hsetex",
        arity: -6,
        flags: Flags::WRITE.union(Flags::DENY_OOM).union(Flags::FAST),
        keys: Keys::ONE,
        handler: hsetex,
        since: "8.0.0",
        summary: "Set the value of one or more fields of a given hash key, and optionally set their expiration",
        group: Group::Hash,
        complexity: "O(N) where N is the number of fields being set",
        merge: Merge::Writes(
            "HSETEX f x ‖ HSETEX f y: the later stamp, and the longer life of both; ‖ HDEL f: field f stands with x; FNX and FXX are decided by the region alone",
        ),
        subcommands: &[],
    },
    Command {
        name: "hgetdel",
        arity: -5,
        flags: Flags::WRITE.union(Flags::FAST),
        keys: Keys::ONE,
        handler: hgetdel,
        since: "8.0.0",
        summary: "Returns the value of a field and deletes it from the hash",
        group: Group::Hash,
        complexity: "O(N) where N is the number of specified fields",
        merge: Merge::Writes(
            "Removes what its region had observed, as HDEL; HGETDEL f ‖ HGETDEL f may both answer the value (at least once)",
        ),
        subcommands: &[],
    },
];

/// The latest deadline of a field, in milliseconds since the Unix epoch: Redis' own bound, in the year 4199.
const DEADLINE_MS_MAX: i64 = (1 << 46) - 1;
/// What commands answer for a field that is not there, or has no end.
const NO_FIELD: i64 = -2;
const NO_END: i64 = -1;
const MISPLACED: CommandError =
    CommandError::Plain("ERR Mandatory argument FIELDS is missing or not at the right position");
const MISCOUNTED: CommandError =
    CommandError::Plain("ERR The `numfields` parameter must match the number of arguments");
const NOT_POSITIVE: &str = "ERR Number of fields must be a positive integer";

/// What a command has done to fields of its key, which is told once.
#[derive(Default)]
struct Done {
    sets: bool,
    ends: bool,
    persists: bool,
    removes: bool,
}

impl Done {
    /// Notes what [`set_end`] has answered.
    fn note_end(&mut self, answer: i64) {
        self.ends |= answer == 1;
        self.removes |= answer == 2;
    }

    /// Tells it to whoever wants to hear of events.
    fn tell(&self, call: &mut Call<'_, '_>, key: &[u8]) {
        let db = call.db();
        let events = [(self.sets, "hset"), (self.ends, "hexpire"), (self.persists, "hpersist")];
        for (_, event) in events.iter().filter(|(is_done, _)| *is_done) {
            call.store.note(EventClass::HASH, event, db, key);
        }
        if self.removes {
            call.store.note_taken(EventClass::HASH, "hdel", db, key);
        }
    }
}

fn hexpire(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    set_ends(call, args, Measure::Seconds, "hexpire")
}

fn hpexpire(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    set_ends(call, args, Measure::Millis, "hpexpire")
}

fn hexpireat(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    set_ends(call, args, Measure::UnixSeconds, "hexpireat")
}

fn hpexpireat(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    set_ends(call, args, Measure::UnixMillis, "hpexpireat")
}

fn set_ends(call: &mut Call<'_, '_>, args: &[&[u8]], measure: Measure, command: &str) -> Result<(), CommandError> {
    let (db, key, now) = (call.db(), args[1], call.now());
    // SUBTLE: the type is looked at before the arguments, as in Redis.
    call.store.hash(db, key)?;
    let deadline = deadline_of(args[2], measure, now, command)?;
    let conditions = Conditions::of_word(args[3]);
    let at = if conditions.is_some() { 4 } else { 3 };
    let fields = fields_at(args, at, "ERR Parameter `numFields` should be greater than 0")?;
    call.reply.array(fields.len());
    let mut done = Done::default();
    for field in fields {
        let answer = match call.store.hash(db, key)?.and_then(|hash| hash.lifetime(field)) {
            None => NO_FIELD,
            Some(current) if !conditions.unwrap_or_default().allow(current, deadline) => 0,
            Some(_) => set_end(call, key, field, deadline)?,
        };
        done.note_end(answer);
        call.reply.integer(answer);
    }
    done.tell(call, key);
    Ok(())
}

/// Sets when a field that is there ends. What is over already is a removal: the answer is 2, else 1.
fn set_end(call: &mut Call<'_, '_>, key: &[u8], field: &[u8], deadline: i64) -> Result<i64, CommandError> {
    let db = call.db();
    match UnixMillis::try_from(deadline) {
        Ok(deadline) if deadline > call.now() => {
            call.store.set_field_lifetime(db, key, field, Lifetime::Until(deadline))?;
            Ok(1)
        }
        Ok(_) | Err(_) => {
            call.store.remove_field(db, key, field)?;
            Ok(2)
        }
    }
}

fn hpersist(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key) = (call.db(), args[1]);
    call.store.hash(db, key)?;
    let fields = fields_at(args, 2, NOT_POSITIVE)?;
    let mut done = Done::default();
    call.reply.array(fields.len());
    for field in fields {
        let answer = persist(call, key, field)?;
        done.persists |= answer == 1;
        call.reply.integer(answer);
    }
    done.tell(call, key);
    Ok(())
}

fn persist(call: &mut Call<'_, '_>, key: &[u8], field: &[u8]) -> Result<i64, CommandError> {
    let db = call.db();
    match call.store.hash(db, key)?.and_then(|hash| hash.lifetime(field)) {
        None => Ok(NO_FIELD),
        Some(Lifetime::Never) => Ok(NO_END),
        Some(Lifetime::Until(_)) => {
            call.store.set_field_lifetime(db, key, field, Lifetime::Never)?;
            Ok(1)
        }
    }
}

fn httl(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    write_ends(call, args, |deadline, now| seconds(deadline - now))
}

fn hpttl(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    write_ends(call, args, |deadline, now| deadline - now)
}

fn hexpiretime(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    write_ends(call, args, |deadline, _now| seconds(deadline))
}

fn hpexpiretime(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    write_ends(call, args, |deadline, _now| deadline)
}

/// Seconds, a begun one as a whole: not the nearest, as those of keys are.
const fn seconds(millis: i64) -> i64 {
    (millis + 999) / 1000
}

fn write_ends(call: &mut Call<'_, '_>, args: &[&[u8]], shown: fn(i64, i64) -> i64) -> Result<(), CommandError> {
    let (db, now) = (call.db(), as_signed(call.now()));
    let hash = call.store.hash(db, args[1])?;
    let fields = fields_at(args, 2, NOT_POSITIVE)?;
    call.reply.array(fields.len());
    for field in fields {
        call.reply.integer(match hash.as_ref().and_then(|hash| hash.lifetime(field)) {
            None => NO_FIELD,
            Some(Lifetime::Never) => NO_END,
            Some(Lifetime::Until(deadline)) => shown(as_signed(deadline), now),
        });
    }
    Ok(())
}

fn as_signed(millis: UnixMillis) -> i64 {
    i64::try_from(millis).unwrap_or(i64::MAX - 999)
}

/// What `HGETEX` does with the life of the fields that it reads.
#[derive(Clone, Copy)]
enum NewEnd {
    Keep,
    Persist,
    At(i64),
}

fn hgetex(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key, now) = (call.db(), args[1], call.now());
    call.store.hash(db, key)?;
    let (new_end, at) = match Measure::of_option(args[2]) {
        Some(measure) => (NewEnd::At(deadline_of(args[3], measure, now, "hgetex")?), 4),
        None if args[2].eq_ignore_ascii_case(b"persist") => (NewEnd::Persist, 3),
        None => (NewEnd::Keep, 2),
    };
    let fields = fields_at(args, at, NOT_POSITIVE)?;
    let mut done = Done::default();
    call.reply.array(fields.len());
    for field in fields {
        if !write_value(call, key, field)? {
            continue;
        }
        match new_end {
            NewEnd::Keep => {}
            NewEnd::Persist => done.persists |= persist(call, key, field)? == 1,
            NewEnd::At(deadline) => done.note_end(set_end(call, key, field, deadline)?),
        }
    }
    done.tell(call, key);
    Ok(())
}

fn hgetdel(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key) = (call.db(), args[1]);
    call.store.hash(db, key)?;
    let fields = fields_at(args, 2, NOT_POSITIVE)?;
    let mut done = Done::default();
    call.reply.array(fields.len());
    for field in fields {
        if write_value(call, key, field)? {
            done.removes |= call.store.remove_field(db, key, field)?;
        }
    }
    done.tell(call, key);
    Ok(())
}

/// Answers the value of a field, and says whether it is there.
fn write_value(call: &mut Call<'_, '_>, key: &[u8], field: &[u8]) -> Result<bool, CommandError> {
    let db = call.db();
    let value = call.store.hash(db, key)?.and_then(|hash| hash.get(field));
    match &value {
        Some(value) => call.reply.bulk(value),
        None => call.reply.null(),
    }
    Ok(value.is_some())
}

/// What `HSETEX` was asked for.
#[derive(Default)]
struct SetOptions<'a> {
    /// Write only if none of the fields is there (`FNX`, true) or all are (`FXX`, false).
    if_none: Option<bool>,
    keeps: bool,
    deadline: Option<i64>,
    /// Fields and values in turn.
    pairs: &'a [&'a [u8]],
}

impl<'a> SetOptions<'a> {
    /// Reads the options up to `FIELDS`, which ends them.
    fn parse(args: &'a [&'a [u8]], now: UnixMillis) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut at = 2;
        while let Some(word) = args.get(at) {
            at += 1;
            if word.eq_ignore_ascii_case(b"fields") {
                options.pairs = pairs_at(args, at)?;
                return Ok(options);
            }
            let measure = Measure::of_option(word);
            if measure.is_some() || word.eq_ignore_ascii_case(b"keepttl") {
                if options.keeps || options.deadline.is_some() {
                    const TEXT: &str = "ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified";
                    return Err(CommandError::Plain(TEXT));
                }
                options.keeps = measure.is_none();
                if let Some(measure) = measure {
                    let amount = args.get(at).ok_or(CommandError::Plain("ERR missing expire time"))?;
                    options.deadline = Some(deadline_of(amount, measure, now, "hsetex")?);
                    at += 1;
                }
            } else if word.eq_ignore_ascii_case(b"fnx") || word.eq_ignore_ascii_case(b"fxx") {
                if options.if_none.is_some() {
                    return Err(CommandError::Plain("ERR Only one of FXX or FNX arguments can be specified"));
                }
                options.if_none = Some(word.eq_ignore_ascii_case(b"fnx"));
            } else {
                return Err(CommandError::Detailed(format!("ERR unknown argument: {}", String::from_utf8_lossy(word))));
            }
        }
        Err(CommandError::wrong_arity("hsetex"))
    }
}

/// The fields with their values whose number is at `at`.
fn pairs_at<'a>(args: &'a [&'a [u8]], at: usize) -> Result<&'a [&'a [u8]], CommandError> {
    if at + 3 > args.len() {
        return Err(CommandError::wrong_arity("hsetex"));
    }
    let count = number::parse_integer(args[at]).filter(|count| (1..=i64::from(i32::MAX)).contains(count));
    let count = count.ok_or(CommandError::Plain("ERR invalid number of fields"))?;
    let pairs = &args[at + 1..];
    if pairs.len() as i64 == count * 2 { Ok(pairs) } else { Err(CommandError::wrong_arity("hsetex")) }
}

fn hsetex(call: &mut Call<'_, '_>, args: &[&[u8]]) -> Result<(), CommandError> {
    let (db, key, now) = (call.db(), args[1], call.now());
    let options = SetOptions::parse(args, now)?;
    let hash = call.store.hash(db, key)?;
    let is_there = |field: &&[u8]| hash.as_ref().is_some_and(|hash| hash.contains(field));
    let mut names = options.pairs.iter().step_by(2);
    let is_met = match options.if_none {
        None => true,
        Some(true) => !names.any(is_there),
        Some(false) => names.all(is_there),
    };
    if !is_met {
        call.reply.integer(0);
        return Ok(());
    }
    let mut done = Done::default();
    for (field, value) in last_of_each(options.pairs) {
        match options.deadline.map(UnixMillis::try_from) {
            Some(Ok(deadline)) if deadline > now => {
                let lifetime = NewLifetime::Set(Lifetime::Until(deadline));
                call.store.put_field_for(db, key, field, value, lifetime)?;
                (done.sets, done.ends) = (true, true);
            }
            // What is over already is a removal.
            Some(_) => done.removes |= call.store.remove_field(db, key, field)?,
            None => {
                done.sets = true;
                let lifetime = if options.keeps { NewLifetime::Keep } else { NewLifetime::Set(Lifetime::Never) };
                call.store.put_field_for(db, key, field, value, lifetime)?;
            }
        }
    }
    done.tell(call, key);
    call.reply.integer(1);
    Ok(())
}

/// The deadline that an amount means, in milliseconds since the Unix epoch; it may have passed.
fn deadline_of(amount: &[u8], measure: Measure, now: UnixMillis, command: &str) -> Result<i64, CommandError> {
    let amount = number::integer(amount)?;
    if amount < 0 {
        return Err(CommandError::Plain("ERR invalid expire time, must be >= 0"));
    }
    let deadline = measure.deadline(amount, now).filter(|deadline| *deadline <= DEADLINE_MS_MAX);
    deadline.ok_or_else(|| deadline::invalid(command))
}

/// The fields behind `FIELDS` and their number, which stand at `at`.
fn fields_at<'a>(args: &'a [&'a [u8]], at: usize, not_positive: &'static str) -> Result<&'a [&'a [u8]], CommandError> {
    if !args.get(at).is_some_and(|word| word.eq_ignore_ascii_case(b"fields")) {
        return Err(MISPLACED);
    }
    let count = args.get(at + 1).and_then(|count| number::parse_integer(count)).filter(|count| *count > 0);
    let count = count.ok_or(CommandError::Plain(not_positive))?;
    let fields = args.get(at + 2..).unwrap_or_default();
    if fields.len() as i64 == count { Ok(fields) } else { Err(MISCOUNTED) }
}

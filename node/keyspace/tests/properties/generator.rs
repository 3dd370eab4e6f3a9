//! Random scripts: what clients do at several replicas, and what passes between these. A profile says how often each
//! kind of command occurs.

use crate::history::{Delta, Key, NewLife, Patch, Write};
use crate::random::Random;
use crate::replicas::Traffic;
use crate::spec_stream::{Kept, Wanted};

/// Keys of a test: in two databases, in different slots and in one (`l` and `{l}2`).
pub const KEYS: [Key; 5] = [Key(0, "k"), Key(0, "l"), Key(0, "{l}2"), Key(3, "k"), Key(3, "l")];
/// How long after the end of a life another replica than its owner may step in.
pub const GRACE_MS: u64 = 20_000;

/// One thing that happens. Any part of a script is a script.
#[derive(Clone, Debug)]
pub enum Step {
    /// Commands at one replica: one, or a transaction of several.
    Commands {
        at: usize,
        writer: usize,
        commands: Vec<Vec<Write>>,
    },
    /// Clocks go on at one replica.
    Tick {
        at: usize,
        ms: u64,
    },
    /// A replica removes what is over: its own, and this key as the one that steps in.
    Sweep {
        at: usize,
        steps_in: Option<&'static str>,
    },
    /// A replica stops and goes on from its journal, of which the end may be lost.
    Restart {
        at: usize,
        lost: usize,
        clean: bool,
    },
    /// A replica writes under another number from now on.
    Renumber {
        at: usize,
    },
    Traffic(Traffic),
}

/// What a random history is made of: weights.
#[derive(Clone, Copy)]
pub struct Profile {
    pub strings: usize,
    pub counters: usize,
    /// Writes of parts of strings.
    pub patches: usize,
    pub floats: usize,
    pub hashes: usize,
    pub field_counters: usize,
    pub sets: usize,
    pub sorted_sets: usize,
    pub lists: usize,
    pub streams: usize,
    pub deletes: usize,
    pub lives: usize,
    pub field_lives: usize,
    pub copies: usize,
    pub clears: usize,
    /// Keys in play.
    pub keys: usize,
    pub replicas: usize,
    /// Milliseconds by which clocks differ at most.
    pub skew: u64,
    pub transfers: bool,
    pub restarts: usize,
    /// Whether replicas learn what all of them have, and fold it.
    pub folds: bool,
    pub renumberings: usize,
    pub values: &'static [&'static str],
}

/// Words and numbers; increments of text are refused.
pub const MIXED_VALUES: &[&str] = &["1", "-3", "40", "2.50", "abc", "", "0.125"];
/// Numbers near the end of 64 bits, for sums beyond them.
pub const WIDE_VALUES: &[&str] = &["9223372036854775807", "9223372036854775800", "-9223372036854775808", "0"];

impl Profile {
    /// Everything, in every combination.
    pub const ALL: Profile = Profile {
        strings: 10,
        counters: 8,
        patches: 10,
        floats: 4,
        hashes: 12,
        field_counters: 8,
        sets: 12,
        sorted_sets: 12,
        lists: 14,
        streams: 12,
        deletes: 6,
        lives: 8,
        field_lives: 10,
        copies: 3,
        clears: 2,
        keys: 5,
        replicas: 3,
        skew: 4000,
        transfers: true,
        restarts: 0,
        folds: true,
        renumberings: 0,
        values: MIXED_VALUES,
    };
    /// Everything but clears of a database, which take long.
    pub const ALL_BUT_CLEARS: Profile = Profile { clears: 0, ..Profile::ALL };
    const NOTHING: Profile = Profile {
        strings: 0,
        counters: 0,
        patches: 0,
        floats: 0,
        hashes: 0,
        field_counters: 0,
        sets: 0,
        sorted_sets: 0,
        lists: 0,
        streams: 0,
        deletes: 0,
        lives: 0,
        field_lives: 0,
        copies: 0,
        clears: 0,
        keys: 2,
        replicas: 3,
        skew: 0,
        transfers: true,
        restarts: 0,
        folds: true,
        renumberings: 0,
        values: MIXED_VALUES,
    };
    /// Replicas that stop and come back, with and without what they knew last.
    pub const RESTARTS: Profile = Profile { clears: 0, transfers: false, restarts: 5, folds: false, ..Profile::ALL };
    pub const COUNTER_RESTARTS: Profile =
        Profile { counters: 10, strings: 3, deletes: 4, keys: 1, transfers: false, restarts: 5, ..Profile::NOTHING };
    /// Replicas that change their number as they go.
    pub const RENUMBERINGS: Profile = Profile { clears: 0, renumberings: 2, ..Profile::ALL };
    pub const REGISTERS: Profile = Profile { strings: 10, deletes: 4, ..Profile::NOTHING };
    pub const PATCHES: Profile =
        Profile { strings: 3, patches: 14, counters: 1, deletes: 2, keys: 1, ..Profile::NOTHING };
    pub const COUNTERS: Profile =
        Profile { strings: 4, counters: 10, floats: 5, deletes: 4, keys: 1, ..Profile::NOTHING };
    pub const WIDE_COUNTERS: Profile =
        Profile { strings: 3, counters: 10, deletes: 1, keys: 1, values: WIDE_VALUES, ..Profile::NOTHING };
    pub const HASHES: Profile = Profile { hashes: 10, field_counters: 8, deletes: 3, ..Profile::NOTHING };
    /// One type: a write to a key of another one would be refused.
    pub const FIELD_LIVES: Profile = Profile {
        hashes: 8,
        field_counters: 8,
        deletes: 2,
        lives: 2,
        field_lives: 16,
        keys: 1,
        skew: 3000,
        ..Profile::NOTHING
    };
    /// Few fields that often end, copies of them, and everything that clears them.
    pub const FIELD_LIVES_AND_MORE: Profile =
        Profile { strings: 2, sets: 2, copies: 4, clears: 2, keys: 3, ..Profile::FIELD_LIVES };
    pub const SETS: Profile = Profile { sets: 10, deletes: 2, ..Profile::NOTHING };
    pub const LISTS: Profile = Profile { lists: 10, deletes: 1, keys: 1, ..Profile::NOTHING };
    pub const LIVES_OF_LISTS: Profile =
        Profile { lists: 10, deletes: 3, lives: 14, keys: 1, skew: 3000, ..Profile::NOTHING };
    pub const STREAMS: Profile = Profile { streams: 10, deletes: 1, keys: 1, ..Profile::NOTHING };
    pub const LIVES_OF_STREAMS: Profile =
        Profile { streams: 10, deletes: 2, lives: 10, copies: 2, keys: 2, skew: 3000, ..Profile::NOTHING };
    pub const SORTED_SETS: Profile = Profile { sorted_sets: 10, deletes: 1, keys: 1, ..Profile::NOTHING };
    // One type at a time: a write to a key of another type would be refused.
    pub const LIVES: Profile =
        Profile { strings: 2, counters: 8, deletes: 4, lives: 14, keys: 1, skew: 3000, ..Profile::NOTHING };
    pub const LIVES_OF_SETS: Profile =
        Profile { sets: 10, deletes: 3, lives: 14, keys: 1, skew: 3000, ..Profile::NOTHING };
    pub const KINDS: Profile = Profile {
        strings: 5,
        counters: 3,
        hashes: 5,
        sets: 5,
        sorted_sets: 5,
        lists: 5,
        streams: 5,
        deletes: 3,
        keys: 1,
        ..Profile::NOTHING
    };
    pub const CLEARS: Profile = Profile {
        strings: 3,
        counters: 4,
        hashes: 4,
        field_counters: 4,
        sets: 4,
        sorted_sets: 4,
        lists: 4,
        streams: 4,
        lives: 2,
        clears: 6,
        keys: 5,
        ..Profile::NOTHING
    };
    pub const COPIES: Profile = Profile {
        strings: 3,
        counters: 4,
        hashes: 4,
        field_counters: 3,
        sets: 4,
        sorted_sets: 4,
        lists: 4,
        streams: 4,
        lives: 3,
        copies: 8,
        keys: 4,
        ..Profile::NOTHING
    };
}

const NAMES: [&str; 3] = ["f", "g", "h"];
/// Floats that are printed with few digits, whatever sum they are in: a copy takes over what is printed.
const SHORT_FLOATS: &[&str] = &["0.5", "-2.25", "10", "1000000.125"];
const PARTS: &[&str] = &["x", "yz", "123", "-"];
const ELEMENTS: &[&str] = &["1", "2", "-7", "word", "", "123456789012"];
const PUSHES: &[&[&str]] = &[&["a", "b", "c"], &["5"], &["6"], &["7", "8"]];
/// Scores in their shortest form; sums of a few of them are doubles.
const SCORES: &[&str] = &["0", "1", "-3", "2.5", "40", "0.125", "inf"];
const FLOATS: &[&str] = &["0.1", "-2.25", "3.000001", "10", "1000000.5"];

/// A random script of about so many steps.
pub fn script(random: &mut Random, profile: &Profile, steps: usize) -> Vec<Step> {
    (0..steps).map(|_| step(random, profile)).collect()
}

fn step(random: &mut Random, profile: &Profile) -> Step {
    let at = random.below(profile.replicas);
    let sweeps = profile.lives.max(profile.field_lives).min(5);
    match random.weighted(&[45, 45, 4, sweeps, profile.restarts, profile.renumberings]) {
        0 => {
            let count = if random.chance(10) { random.between(2, 4) } else { 1 };
            let commands = (0..count).map(|_| command(random, profile)).collect();
            Step::Commands { at, writer: random.below(2), commands }
        }
        1 => Step::Traffic(Traffic::random(random, profile.replicas, profile.transfers)),
        2 => Step::Tick { at, ms: 2 * random.between(0, 3000) as u64 },
        3 => Step::Sweep { at, steps_in: random.chance(30).then(|| random.pick(&KEYS).1) },
        4 => {
            let lost = if random.chance(50) { 0 } else { random.between(1, 4) };
            Step::Restart { at, lost, clean: random.chance(50) }
        }
        _ => Step::Renumber { at },
    }
}

fn command(random: &mut Random, profile: &Profile) -> Vec<Write> {
    let key = *random.pick(&KEYS[..profile.keys]);
    let name = *random.pick(&NAMES);
    let floats = if profile.copies > 0 { SHORT_FLOATS } else { FLOATS };
    let weights = [
        profile.strings,
        profile.counters,
        profile.floats,
        profile.hashes,
        profile.field_counters,
        profile.sets,
        profile.sorted_sets,
        profile.lists,
        profile.deletes,
        profile.lives,
        profile.copies,
        profile.field_lives,
        profile.clears,
        profile.patches,
        profile.streams,
    ];
    match random.weighted(&weights) {
        0 => vec![Write::PutString { key, value: pick(random, profile.values), life: new_life(random, profile) }],
        1 => vec![Write::AddToString { key, delta: integer(random) }],
        2 => vec![Write::AddToString { key, delta: Delta::Float(pick(random, floats)) }],
        3 => hash_command(random, profile, key, name),
        4 if profile.floats > 0 && random.chance(30) => {
            vec![Write::AddToField { key, field: name, delta: Delta::Float(pick(random, floats)) }]
        }
        4 => vec![Write::AddToField { key, field: name, delta: integer(random) }],
        5 => set_command(random, key, name),
        6 => sorted_set_command(random, key, name),
        7 => list_command(random, key),
        8 => vec![Write::Delete { key }],
        9 => vec![Write::SetLife { key, life: if random.chance(30) { NewLife::Never } else { some_life(random) } }],
        10 => copy_command(random, profile, key),
        11 => field_life_command(random, profile, key, name),
        12 => vec![Write::Clear { database: random.chance(70).then_some(key.0) }],
        13 => vec![Write::PatchString { key, patch: some_patch(random) }],
        _ => stream_command(random, key),
    }
}

fn some_patch(random: &mut Random) -> Patch {
    let text = pick(random, PARTS);
    if random.chance(40) { Patch::Append(text) } else { Patch::Range(random.below(5), text) }
}

fn hash_command(random: &mut Random, profile: &Profile, key: Key, field: &'static str) -> Vec<Write> {
    let mut put = |field| Write::PutField { key, field, value: pick(random, profile.values) };
    let (first, second) = (put(field), put("g"));
    match random.below(10) {
        0..5 => vec![first],
        5 => vec![first, second],
        6 => vec![Write::RemoveField { key, field }, Write::RemoveField { key, field: "g" }],
        _ => vec![Write::RemoveField { key, field }],
    }
}

fn field_life_command(random: &mut Random, profile: &Profile, key: Key, field: &'static str) -> Vec<Write> {
    let life = if random.chance(25) { NewLife::Never } else { some_life(random) };
    let set = |field| Write::SetFieldLife { key, field, life };
    let value = pick(random, profile.values);
    match random.below(12) {
        0..4 => vec![set(field)],
        4 | 5 => vec![set(field), set("g")],
        6..9 => vec![Write::PutFieldFor { key, field, value, life }],
        9 => vec![Write::PutFieldFor { key, field, value, life: NewLife::Keep }],
        // As RESTORE REPLACE does.
        10 => vec![
            Write::Delete { key },
            Write::PutFieldFor { key, field, value, life },
            Write::PutField { key, field: "h", value },
        ],
        // One field twice in one command.
        _ => vec![Write::PutFieldFor { key, field, value, life }, Write::PutField { key, field, value }],
    }
}

fn set_command(random: &mut Random, key: Key, member: &'static str) -> Vec<Write> {
    let add = |member| Write::AddMember { key, member };
    match random.below(10) {
        0..4 => vec![add(member)],
        4 => vec![add(member), add("h")],
        // As SINTERSTORE does: the old value goes, the new one comes, in one command.
        5 => vec![Write::Delete { key }, add(member), add("f")],
        _ => vec![Write::RemoveMember { key, member }],
    }
}

fn stream_command(random: &mut Random, key: Key) -> Vec<Write> {
    let value = pick(random, ELEMENTS);
    let id = (1 + random.below(60) as u64, 1 + random.below(2) as u64);
    let append = |wanted| Write::Append { key, wanted, value };
    let trim = |kept| Write::TrimStream { key, kept };
    match random.below(18) {
        0..4 => vec![append(Wanted::Next)],
        4..7 => vec![append(Wanted::This(id))],
        7..9 => vec![append(Wanted::NextIn(id.0))],
        // As XADD MAXLEN does.
        9 => vec![append(Wanted::Next), trim(Kept::Most(random.below(4)))],
        10 => vec![append(Wanted::This(id)), trim(Kept::Most(0))],
        11 | 12 => vec![Write::DeleteEntries { key, ids: [id, (1 + random.below(60) as u64, 1)] }],
        13 => vec![trim(Kept::Most(random.below(4)))],
        14 => vec![trim(Kept::From(id))],
        15 => vec![Write::SetStreamIds { key, last: id, added: random.chance(50).then_some(40) }],
        // As RESTORE REPLACE does.
        16 => vec![Write::Delete { key }, append(Wanted::This(id)), append(Wanted::This((id.0 + 1, 0)))],
        _ => vec![Write::Delete { key }],
    }
}

fn list_command(random: &mut Random, key: Key) -> Vec<Write> {
    let (is_head, index) = (random.chance(50), random.below(6));
    let value = pick(random, ELEMENTS);
    match random.below(16) {
        0..4 => vec![Write::Push { key, is_head, values: PUSHES[random.below(PUSHES.len())] }],
        4..8 => vec![Write::InsertElement { key, index, value }],
        8 | 9 => vec![Write::SetElement { key, index, value }],
        10 | 11 => vec![Write::Pop { key, is_head, count: 1 }],
        12 => vec![Write::Pop { key, is_head, count: index }],
        // As LTRIM and LREM do.
        13 => vec![Write::RemoveElements { key, start: index, end: index + random.below(3) }],
        14 => vec![Write::Rotate { key, is_head }],
        // As RESTORE REPLACE does.
        _ => vec![Write::Delete { key }, Write::Push { key, is_head: false, values: PUSHES[0] }],
    }
}

fn sorted_set_command(random: &mut Random, key: Key, member: &'static str) -> Vec<Write> {
    let put = |member, score| Write::PutScore { key, member, score };
    let score = pick(random, SCORES);
    match random.below(12) {
        0..4 => vec![put(member, score)],
        4 => vec![put(member, score), put("h", "1")],
        // As ZINTERSTORE does.
        5 => vec![Write::Delete { key }, put(member, score), put("f", "2.5")],
        6 | 7 => vec![Write::AddToScore { key, member, delta: integer(random) }],
        8 => vec![Write::AddToScore { key, member, delta: Delta::Float("0.375") }],
        _ => vec![Write::RemoveScored { key, member }],
    }
}

fn copy_command(random: &mut Random, profile: &Profile, source: Key) -> Vec<Write> {
    let target = *random.pick(&KEYS[..profile.keys]);
    if target == source {
        return vec![Write::Delete { key: source }];
    }
    let copy = Write::Copy { source, target };
    // A rename is a copy and a removal in one command.
    if random.chance(50) { vec![copy, Write::Delete { key: source }] } else { vec![copy] }
}

fn pick(random: &mut Random, texts: &[&'static str]) -> &'static str {
    texts[random.below(texts.len())]
}

fn integer(random: &mut Random) -> Delta {
    Delta::Integer(random.between(0, 12) as i64 - 4)
}

fn new_life(random: &mut Random, profile: &Profile) -> NewLife {
    match random.below(10) {
        0 | 1 => NewLife::Keep,
        2..5 if profile.lives > 0 => some_life(random),
        _ => NewLife::Never,
    }
}

/// Odd, while clocks are even: nobody looks in the very millisecond of a deadline.
fn some_life(random: &mut Random) -> NewLife {
    NewLife::For(2 * random.between(0, 5000) as u64 + 1)
}

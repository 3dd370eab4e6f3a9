//! Calls from the grammar: mostly right, sometimes spoilt, now and then a transaction.

use super::grammar::{Argument, FOR_TALKS, Grammar, Syntax};
use super::pools;
use crate::random::Random;

/// Makes the calls of one sequence.
pub struct Generator<'a> {
    pub(super) grammar: &'a Grammar,
    names: Vec<&'a str>,
    pub(super) random: Random,
    /// Calls that are still to be queued in the transaction that was begun.
    queue_left: Option<usize>,
    /// Whether the command is one of sorted sets or geo, and what the ends of its ranges are.
    is_scored: bool,
    ends: Keys,
    /// Whether patterns are made into names of keys.
    names_keys: bool,
    /// Whether the command is one of streams, and the last id that was made for one.
    is_stream: bool,
    last_id: usize,
}

/// The keys that one call mostly uses.
type Keys = &'static [&'static str];

/// Calls whose answers are random or depend on another's: no sense in a transaction, where they cannot be repeated.
#[rustfmt::skip]
const ALONE: &[&str] =
    &[
    "spop", "srandmember", "hrandfield", "zrandmember", "randomkey", "scan", "sscan", "hscan", "zscan", "time", "reset",
    "swapdb", "watch", "hello", "auth", "migrate",
];
/// Commands that would empty the databases all the time, that are tried in every sequence anyway, or that are answered alike
/// whatever was called before.
const RARE: &[&str] = &[
    "flushall",
    "flushdb",
    "reset",
    "select",
    "swapdb",
    "multi",
    "exec",
    "discard",
    "time",
    "move",
    "ping",
    "echo",
    "hello",
    "auth",
    "script|flush",
    "function|flush",
    "role",
    "failover",
    "config|resetstat",
    "migrate",
];
/// Of these no pick of many stands.
const RARE_KINDS: &[&str] = &["cluster", "|help", "module", "memory", "latency", "slowlog", "pubsub", "info"];
/// One of so many picks of a rare command stands.
const RARE_ONE_OF: usize = 8;

fn is_rare(name: &str) -> bool {
    RARE.contains(&name) || RARE_KINDS.iter().any(|kind| name.starts_with(kind) || name.ends_with(kind))
}

impl<'a> Generator<'a> {
    /// For one sequence.
    pub fn new(grammar: &'a Grammar, random: Random) -> Self {
        let names = grammar.commands.keys().map(String::as_str).filter(|name| !FOR_TALKS.contains(name)).collect();
        Self {
            grammar,
            names,
            random,
            queue_left: None,
            is_scored: false,
            ends: pools::ENDS,
            names_keys: false,
            is_stream: false,
            last_id: 0,
        }
    }

    /// The next call.
    pub fn call(&mut self) -> Vec<Vec<u8>> {
        match self.queue_left {
            Some(0) => {
                self.queue_left = None;
                let word = if self.random.percent(90) { "EXEC" } else { "DISCARD" };
                return vec![word.into()];
            }
            Some(left) => self.queue_left = Some(left - 1),
            None if self.random.percent(3) => {
                self.queue_left = Some(1 + self.random.below(6));
                return vec!["MULTI".into()];
            }
            None => {}
        }
        loop {
            let name = *self.random.one_of(&self.names);
            let is_refused = (is_rare(name) && self.random.below(RARE_ONE_OF) != 0)
                || (self.queue_left.is_some() && (ALONE.contains(&name) || name == "exec" || name == "discard"));
            if is_refused {
                continue;
            }
            let call = self.of_command(name);
            if !is_racy(&call) {
                if name == "multi" && self.queue_left.is_none() {
                    self.queue_left = Some(2);
                }
                return call;
            }
        }
    }

    pub(super) fn of_command(&mut self, name: &str) -> Vec<Vec<u8>> {
        let grammar = self.grammar;
        let syntax = &grammar.commands[name];
        let mut words: Vec<Vec<u8>> = name.split('|').map(|word| self.cased(word)).collect();
        if let Some(others) = self.special(name) {
            words.extend(others);
            // Nobody is asked for a name that a word was spoilt into.
            if name != "migrate" && self.random.percent(4) {
                self.spoil(&mut words);
            }
            return words;
        }
        self.names_keys = name.starts_with("sort");
        let keys = self.keys(syntax);
        self.is_scored = matches!(syntax.group.as_str(), "sorted-set" | "geo");
        self.is_stream = syntax.group == "stream";
        self.ends = ends_of(name);
        self.all(&syntax.arguments, keys, &mut words);
        if self.random.percent(6) {
            self.spoil(&mut words);
        }
        words
    }

    /// Mostly the keys that hold the right type.
    fn keys(&mut self, syntax: &Syntax) -> Keys {
        if self.random.percent(15) {
            return pools::ALL_KEYS;
        }
        match syntax.group.as_str() {
            _ if self.names_keys => pools::SORTED_BY_SORT_KEYS,
            "hash" => pools::HASH_KEYS,
            "set" => pools::SET_KEYS,
            // Sets are taken too.
            "sorted-set" if self.random.percent(10) => pools::SET_KEYS,
            "sorted-set" => pools::SORTED_KEYS,
            "geo" => pools::PLACE_KEYS,
            "list" => pools::LIST_KEYS,
            "stream" => pools::STREAM_KEYS,
            "hyperloglog" if self.random.percent(5) => pools::STRING_KEYS,
            "hyperloglog" => pools::SKETCH_KEYS,
            "string" | "bitmap" => pools::STRING_KEYS,
            _ => {
                let pools: [Keys; 7] = [
                    pools::STREAM_KEYS,
                    pools::HASH_KEYS,
                    pools::SET_KEYS,
                    pools::SORTED_KEYS,
                    pools::LIST_KEYS,
                    pools::STRING_KEYS,
                    pools::ALL_KEYS,
                ];
                pools[self.random.below(pools.len())]
            }
        }
    }

    fn all(&mut self, arguments: &[Argument], keys: Keys, words: &mut Vec<Vec<u8>>) {
        let mut counted: Option<usize> = None;
        for argument in arguments {
            if argument.is_optional && !self.random.percent(30) {
                continue;
            }
            if argument.name == "numkeys" {
                let count = 1 + self.random.below(3);
                counted = Some(count);
                let told = if self.random.percent(92) { count.to_string() } else { self.pick(pools::COUNTS) };
                words.push(told.into_bytes());
                continue;
            }
            let times = match (argument.is_multiple, counted.take()) {
                (true, Some(count)) => count,
                (true, None) => 1 + self.random.below(3),
                (false, _) => 1,
            };
            // As many ids as streams.
            if self.is_stream && argument.kind == "key" && argument.is_multiple && self.random.percent(92) {
                counted = Some(times);
            }
            for time in 0..times {
                if let Some(token) = argument.token.as_ref().filter(|_| time == 0 || argument.repeats_token) {
                    // An empty token is one that is the argument's own value.
                    if !token.is_empty() {
                        words.push(self.cased(token));
                    }
                }
                self.one(argument, keys, words);
            }
        }
    }

    fn one(&mut self, argument: &Argument, keys: Keys, words: &mut Vec<Vec<u8>>) {
        match argument.kind.as_str() {
            "pure-token" => {}
            "block" => self.all(&argument.parts, keys, words),
            "oneof" => {
                let index = self.random.below(argument.parts.len());
                if let Some(part) = argument.parts.get(index) {
                    let chosen = Argument { is_optional: false, ..part.clone() };
                    self.all(&[chosen], keys, words);
                }
            }
            // No two places are alike: nobody promises anything about the order of those that are equally far away.
            "double" if argument.name.ends_with("itude") && self.random.percent(85) => {
                let degrees = self.random.below(1_600_000) as f64 / 10_000.0 - 80.0;
                words.push(degrees.to_string().into_bytes());
            }
            _ if self.is_stream && is_id(&argument.name) && self.random.percent(70) => {
                // Mostly greater than those before it, or one of them.
                let is_new = argument.name == "id" && self.random.percent(70);
                self.last_id += usize::from(is_new);
                let ms = if is_new { self.last_id } else { self.random.below(self.last_id + 2) };
                let word = if self.random.percent(80) { format!("{ms}-1") } else { ms.to_string() };
                words.push(word.into_bytes());
            }
            kind => {
                let pool = match (kind, argument.name.as_str()) {
                    ("key", _) => keys,
                    (_, name) if of_server(name).is_some() => of_server(name).unwrap_or(pools::VALUES),
                    (_, name) if self.is_stream && is_id(name) => pools::IDS,
                    (_, "group" | "groupname" | "consumer" | "consumername") => pools::GROUPS,
                    ("pattern", _) if self.names_keys => pools::KEY_PATTERNS,
                    ("pattern", _) => pools::PATTERNS,
                    (_, name) if self.is_scored && of_scores(name).is_some() => {
                        let ends = self.ends;
                        of_scores(name).map_or(pools::VALUES, |pool| if pool.is_empty() { ends } else { pool })
                    }
                    ("double", _) => pools::DOUBLES,
                    ("unix-time", name) if name.contains("milli") => pools::MOMENTS_MS,
                    ("unix-time", _) => pools::MOMENTS,
                    ("integer", "seconds") => pools::SECONDS,
                    ("integer", "milliseconds") => pools::MILLISECONDS,
                    ("integer", "offset") => pools::OFFSETS,
                    ("integer", "start" | "end") => pools::POSITIONS,
                    ("integer", "count" | "limit" | "len" | "min-match-len") => pools::COUNTS,
                    ("integer", "cursor") => &["0", "0", "0", "0", "abc", "-1", "1.5"],
                    ("integer", "index" | "destination-db" | "index1" | "index2") => {
                        &["0", "0", "0", "1", "15", "16", "-1", "abc"]
                    }
                    ("integer", "bit" | "value") => &["0", "1", "1", "-1", "2", "255", "abc", "-9223372036854775808"],
                    ("integer", _) => pools::INTEGERS,
                    (_, "encoding") => pools::WIDTHS,
                    (_, "operation") => pools::BIT_OPERATIONS,
                    (_, "type") => pools::TYPES,
                    (_, "field" | "member") => pools::NAMES,
                    _ => pools::VALUES,
                };
                let word = self.pick(pool);
                words.push(bytes(&word));
            }
        }
    }

    /// The name of any command of single sequences.
    pub(super) fn random_name(&mut self) -> String {
        (*self.random.one_of(&self.names)).to_owned()
    }

    /// A word too few, too many, or in the wrong place.
    pub(super) fn spoil(&mut self, words: &mut Vec<Vec<u8>>) {
        let place = self.random.below(words.len());
        match self.random.below(4) {
            0 if words.len() > 1 => drop(words.pop()),
            1 => words.push(bytes(&self.pick(pools::ODD_WORDS))),
            2 if place > 0 => words[place] = bytes(&self.pick(pools::ODD_WORDS)),
            _ if place > 0 => words.swap(place, 1),
            _ => words.push(bytes(&self.pick(pools::ODD_WORDS))),
        }
    }

    pub(super) fn pick(&mut self, pool: &[&str]) -> String {
        (*self.random.one_of(pool)).to_owned()
    }

    /// Names and tokens are taken in any case.
    fn cased(&mut self, word: &str) -> Vec<u8> {
        let word = if self.random.percent(50) { word.to_ascii_uppercase() } else { word.to_ascii_lowercase() };
        word.into_bytes()
    }
}

/// Nothing in a session is pending for so many milliseconds.
const IDLE_MS_TOLD: u64 = 10_000_000;

/// Whether an argument of a command on streams is an id.
fn is_id(name: &str) -> bool {
    matches!(name, "id" | "start" | "end" | "threshold" | "last-id" | "max_deleted_entry_id" | "max-deleted-entry-id")
}

/// What the arguments of commands about clients, messages, users and the server itself are drawn from.
fn of_server(name: &str) -> Option<Keys> {
    match name {
        "username" => Some(pools::USERS),
        "password" => Some(pools::PASSWORDS),
        "categoryname" => Some(pools::CATEGORIES),
        "channel" | "shardchannel" => Some(pools::CHANNELS),
        "client-id" => Some(pools::CLIENTS),
        "connection-name" | "clientname" => Some(pools::CLIENT_NAMES),
        "protover" => Some(&["2", "3", "2", "3", "1", "4", "x"]),
        "library-name-pattern" => Some(super::scripts::LIBRARIES),
        "timeout" => Some(&["0", "0", "0", "0.01", "-1", "abc", "inf"]),
        "bits" => Some(&["1", "4", "7", "128", "4096", "0", "-1", "4097", "x"]),
        "event" => Some(&["command", "fork", "none"]),
        "section" => Some(&["server", "clients", "none", "all", "everything"]),
        "ip:port" => Some(&["127.0.0.1:1", "x"]),
        "yes/no" => Some(&["yes", "no", "maybe"]),
        "prefix" => Some(&["s", "n", "user:", "user:1", ""]),
        _ => None,
    }
}

/// What the arguments of sorted sets are drawn from, by their names; an empty pool stands for the ends of ranges.
fn of_scores(name: &str) -> Option<Keys> {
    match name {
        "score" | "weight" | "increment" => Some(pools::SCORES),
        "longitude" | "latitude" => Some(pools::DEGREES),
        "radius" | "width" | "height" => Some(pools::RADII),
        "min" | "max" | "start" | "stop" => Some(&[]),
        "offset" => Some(pools::RANKS),
        "member" | "member1" | "member2" => Some(pools::NAMES),
        _ => None,
    }
}

/// The ends of a range, by the name of the command.
fn ends_of(name: &str) -> Keys {
    if name.contains("rank") || name == "zrevrange" {
        pools::RANKS
    } else if name.contains("lex") {
        pools::NAME_ENDS
    } else if name.contains("score") || name == "zcount" {
        pools::SCORE_ENDS
    } else {
        pools::ENDS
    }
}

/// Letters up to ff stand for the byte, so that values are not always text.
pub(super) fn bytes(word: &str) -> Vec<u8> {
    let is_text = word.chars().all(|letter| u32::from(letter) < 0x80);
    if is_text { word.as_bytes().to_vec() } else { word.chars().map(|letter| letter as u32 as u8).collect() }
}

/// Whether the call could start a life that ends while the sequence runs, at each server at a moment of its own.
pub(super) fn is_racy(call: &[Vec<u8>]) -> bool {
    let name = call[0].to_ascii_lowercase();
    let has = |word: &str| call.iter().any(|given| given.eq_ignore_ascii_case(word.as_bytes()));
    let relative =
        has("ex") || has("px") || [&b"expire"[..], b"pexpire", b"setex", b"psetex"].contains(&name.as_slice());
    // Elements that are alike by what they are compared by have no order of their own, and sets have none to keep.
    if name.starts_with(b"sort") && has("by") && has("store") {
        return true;
    }
    // How long something has been pending is a matter of milliseconds.
    let is_soon = |at: usize| {
        let ms = call.get(at).and_then(|word| std::str::from_utf8(word).ok()?.parse::<u64>().ok());
        ms.is_some_and(|ms| (1..IDLE_MS_TOLD).contains(&ms))
    };
    if matches!(&*name, b"xclaim" | b"xautoclaim") && is_soon(4) || name == b"xpending" && is_soon(4) {
        return true;
    }
    // Ids that are generated are another matter, and nobody is there to wait for.
    if name == b"xadd" && call.iter().any(|word| word.ends_with(b"*")) || name.starts_with(b"xread") && has("block") {
        return true;
    }
    // A value that is huge for seconds is fine; a small one may have been put there by spoiling.
    relative
        && call[1..].iter().any(|word| {
            let number: Option<i64> = std::str::from_utf8(word).ok().and_then(|text| text.trim().parse().ok());
            number.is_some_and(|number| (1..100).contains(&number))
        })
}

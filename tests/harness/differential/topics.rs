//! What clients say to each other in talks: subscriptions, caching, waiting, transactions, clients, users.

use super::generator::{Generator, is_racy};
use super::normal::{name_of, normal};
use super::special::{DATA_GROUPS, UNFIT};
use super::told::Common;
use super::{Grammar, parties::Parties};
use crate::random::Random;
use crate::reply::Reply;

/// What one client says in its turn.
#[derive(Clone, Debug)]
pub struct Turn {
    /// Which of them.
    pub who: usize,
    /// Its requests, in one pipeline.
    pub requests: Vec<Vec<Vec<u8>>>,
    /// It may be answered only when another one has said something.
    pub may_wait: bool,
    /// It waits for a few milliseconds at most.
    pub is_answered_soon: bool,
}

impl Turn {
    /// Answers in an order of their own, without what chance decides.
    pub fn put_in_order(&self, answers: &mut [Reply], common: &Common) {
        let [request] = self.requests.as_slice() else { return };
        if name_of(request).ends_with("UNSUBSCRIBE") {
            // Those who leave everything do so in any order.
            let mut names: Vec<Reply> = answers.iter().filter_map(|answer| answer.elements().get(1).cloned()).collect();
            names.sort();
            for (answer, name) in answers.iter_mut().zip(names) {
                if let Reply::Array(parts) | Reply::Push(parts) = answer {
                    parts[1] = name;
                }
            }
        }
        if let [answer] = answers {
            *answer = normal(request, std::mem::replace(answer, Reply::Integer(0)), common);
        }
    }
}

/// What a talk is about.
#[derive(Clone, Copy, Debug)]
pub struct Topic {
    /// What it is called.
    pub name: &'static str,
    /// Said by the first client before all else.
    opening: &'static [&'static str],
    /// Whole turns; requests of one pipeline are divided by semicolons.
    lines: &'static [&'static str],
    /// Commands whose arguments are made from the grammar.
    commands: &'static [&'static str],
    /// So many of a hundred turns are calls that read and write keys.
    data_percent: u64,
}

/// All topics.
pub const TOPICS: &[Topic] = &[
    Topic {
        name: "messages",
        opening: &[],
        lines: &[
            "SUBSCRIBE news a",
            "SUBSCRIBE a",
            "PSUBSCRIBE n* a?",
            "PSUBSCRIBE *",
            "SSUBSCRIBE news",
            "SSUBSCRIBE a b",
            "UNSUBSCRIBE",
            "PUNSUBSCRIBE",
            "SUNSUBSCRIBE",
            "PUBLISH news one",
            "PUBLISH a two",
            "SPUBLISH news three",
            "SPUBLISH a four",
            "PUBSUB CHANNELS",
            "PUBSUB NUMSUB news a",
            "PUBSUB NUMPAT",
            "PUBSUB SHARDCHANNELS",
            "PUBSUB SHARDNUMSUB news a b",
            "PING",
            "PING x y",
            "MULTI",
            "EXEC",
            "RESET",
            "QUIT",
            "HELLO 3",
            "HELLO 2",
            "SUBSCRIBE b;PUBLISH b self",
            "CLIENT LIST",
            "PUBLISH news x;PUBLISH a y;PUBLISH news z",
            "EVAL return(redis.call('publish',KEYS[1],'s')) 1 news",
            "EVAL return(redis.call('spublish','a','s')) 0",
        ],
        commands: &[
            "subscribe",
            "unsubscribe",
            "psubscribe",
            "punsubscribe",
            "ssubscribe",
            "sunsubscribe",
            "publish",
            "spublish",
            "pubsub|channels",
            "pubsub|numsub",
            "pubsub|shardchannels",
            "pubsub|shardnumsub",
            "pubsub|numpat",
        ],
        data_percent: 8,
    },
    Topic {
        name: "caching",
        opening: &[],
        lines: &[
            "CLIENT TRACKING ON",
            "CLIENT TRACKING ON",
            "CLIENT TRACKING OFF",
            "CLIENT TRACKING ON BCAST",
            "CLIENT TRACKING ON BCAST PREFIX s PREFIX h",
            "CLIENT TRACKING ON OPTIN",
            "CLIENT TRACKING ON OPTOUT",
            "CLIENT TRACKING ON NOLOOP",
            "CLIENT TRACKING ON REDIRECT @id1",
            "CLIENT TRACKING ON REDIRECT @id0 BCAST",
            "CLIENT CACHING YES",
            "CLIENT CACHING NO",
            "CLIENT CACHING YES;GET s1",
            "CLIENT CACHING NO;MGET s1 s2",
            "CLIENT TRACKINGINFO",
            "CLIENT GETREDIR",
            "SUBSCRIBE __redis__:invalidate",
            "UNSUBSCRIBE",
            "FLUSHALL",
            "FLUSHDB",
            "GET s1",
            "MGET s1 s2 n1",
            "HGETALL h1",
            "SET s1 x",
            "INCR n1",
            "HSET h1 f v",
            "DEL s1 h1",
            "EXPIRE s1 -1",
            "RENAME s1 s2",
            "MULTI",
            "EXEC",
            "RESET",
            "QUIT",
            "HELLO 3",
            "HELLO 2",
            "SELECT 1",
            "SELECT 0",
            "CLIENT LIST",
            "EVAL return(redis.call('get',KEYS[1])) 1 s1",
            "EVAL return(redis.call('incr',KEYS[1])) 1 n1",
        ],
        commands: &["client|tracking", "client|caching", "client|trackinginfo", "client|getredir"],
        data_percent: 45,
    },
    Topic {
        name: "waiting",
        opening: &["XGROUP CREATE x2 g1 $ MKSTREAM"],
        lines: &[
            "BLPOP l1 0",
            "BRPOP l2 l1 0",
            "BLMOVE l1 l2 LEFT RIGHT 0",
            "BRPOPLPUSH l2 l1 0",
            "BLMPOP 0 2 l1 l2 LEFT COUNT 2",
            "BZPOPMIN z1 z2 0",
            "BZPOPMAX z1 0",
            "BZMPOP 0 1 z2 MAX COUNT 2",
            "XREAD BLOCK 0 STREAMS x1 $",
            "XREAD BLOCK 0 STREAMS x1 x2 0 0",
            "XREADGROUP GROUP g1 c1 BLOCK 0 STREAMS x2 >",
            "BLPOP none 0.01",
            "BZPOPMIN none 0.01",
            "XREAD BLOCK 10 STREAMS none $",
            "BLMOVE none l1 LEFT LEFT 0.01",
            "RPUSH l1 a",
            "RPUSH l1 a b c",
            "LPUSH l2 x y",
            "ZADD z1 1 a",
            "ZADD z2 1 a 2 b 3 c",
            "DEL l1 l2",
            "SET l1 text",
            "RENAME l2 l1",
            "COPY l1 l2",
            "LPOP l1",
            "LMOVE l1 l2 LEFT LEFT",
            "CLIENT UNBLOCK @id0",
            "CLIENT UNBLOCK @id1 ERROR",
            "CLIENT UNBLOCK @id1 TIMEOUT",
            "CLIENT UNBLOCK @id2",
            "CLIENT KILL ID @id0",
            "DEL x2",
            "XGROUP DESTROY x2 g1",
            "XGROUP CREATE x2 g1 $ MKSTREAM",
            "MULTI",
            "EXEC",
            "RPUSH l1 a;LPOP l1",
            "FLUSHALL",
            "CLIENT LIST",
            "SORT l2 STORE l1",
            "RESTORE l1 0 bad",
            "EVAL return(redis.call('rpush',KEYS[1],'s','t')) 1 l1",
            "EVAL return(redis.call('blpop',KEYS[1],0)) 1 l1",
            "ZRANGESTORE z1 z2 0 -1",
            "GEOADD z1 13 38 p",
        ],
        commands: &[
            "blpop",
            "brpop",
            "blmove",
            "brpoplpush",
            "blmpop",
            "bzpopmin",
            "bzpopmax",
            "bzmpop",
            "xread",
            "xreadgroup",
            "client|unblock",
            "rpush",
            "lpush",
            "rpushx",
            "linsert",
            "lmove",
            "rpoplpush",
            "zadd",
            "zincrby",
            "zunionstore",
            "xadd",
            "del",
            "rename",
            "copy",
        ],
        data_percent: 10,
    },
    Topic {
        name: "transactions",
        opening: &[],
        lines: &[
            "WATCH s1 s2",
            "WATCH n1",
            "WATCH h1 l1",
            "UNWATCH",
            "MULTI",
            "MULTI",
            "MULTI",
            "EXEC",
            "EXEC",
            "EXEC",
            "EXEC",
            "DISCARD",
            "SET s1 x",
            "INCR n1",
            "DEL s1",
            "HSET h1 f v",
            "RPUSH l1 a",
            "FLUSHDB",
            "FLUSHALL",
            "EXPIRE n1 100",
            "EXPIRE n1 -1",
            "PERSIST n1",
            "GET s1",
            "NOSUCH",
            "GET",
            "WATCH",
            "SELECT 1",
            "SELECT 0",
            "MOVE s1 1",
            "RESET",
            "MULTI x",
            "EVAL return(redis.call('incr',KEYS[1])) 1 n1",
            "CLIENT LIST",
            "SET s1 x GET",
            "APPEND s2 y",
            "LPOP l1",
            "SUBSCRIBE a",
        ],
        commands: &["watch", "unwatch"],
        data_percent: 45,
    },
    Topic {
        name: "clients",
        opening: &["ACL SETUSER ann on >pw1 ~* &* +@all"],
        lines: &[
            "CLIENT LIST",
            "CLIENT LIST ID @id0 @id2",
            "CLIENT LIST ID @id1",
            "CLIENT LIST TYPE pubsub",
            "CLIENT LIST TYPE replica",
            "CLIENT LIST TYPE nobody",
            "CLIENT LIST ID x",
            "CLIENT LIST ID 0",
            "CLIENT LIST ID",
            "CLIENT INFO",
            "CLIENT INFO x",
            "CLIENT ID",
            "CLIENT KILL ID @id1",
            "CLIENT KILL ADDR @addr1",
            "CLIENT KILL @addr0",
            "CLIENT KILL ID @id0 SKIPME no",
            "CLIENT KILL ID @id2 SKIPME no",
            "CLIENT KILL ID @id2 ADDR @addr1",
            "CLIENT KILL USER ann",
            "CLIENT KILL USER nobody",
            "CLIENT KILL ID 0",
            "CLIENT KILL ID x",
            "CLIENT KILL ID -1",
            "CLIENT KILL",
            "CLIENT KILL x",
            "CLIENT KILL TYPE nobody",
            "CLIENT KILL TYPE pubsub",
            "CLIENT KILL TYPE replica",
            "CLIENT KILL ID @id1 SKIPME maybe",
            "CLIENT KILL ID @id1 TYPE",
            "CLIENT KILL ADDR 127.0.0.1:1",
            "CLIENT KILL LADDR 127.0.0.1:1",
            "CLIENT NO-EVICT ON",
            "CLIENT NO-EVICT OFF",
            "CLIENT NO-EVICT maybe",
            "CLIENT SETNAME one",
            "CLIENT SETNAME two\u{1}",
            "CLIENT SETNAME",
            "CLIENT GETNAME",
            "CLIENT REPLY ON",
            "CLIENT REPLY maybe",
            "CLIENT REPLY OFF;SET s1 x;GET s1;CLIENT REPLY ON",
            "CLIENT REPLY SKIP;GET s1",
            "CLIENT REPLY SKIP;CLIENT REPLY ON",
            "CLIENT UNBLOCK @id0",
            "CLIENT UNBLOCK @id0 maybe",
            "CLIENT UNBLOCK x",
            "CLIENT UNBLOCK 999999",
            "CLIENT PAUSE 1",
            "CLIENT PAUSE x",
            "CLIENT PAUSE -1",
            "CLIENT PAUSE 1 sometimes",
            "CLIENT PAUSE 1 WRITE",
            "CLIENT PAUSE 1 ALL",
            "CLIENT PAUSE 99999999999999999999",
            "CLIENT UNPAUSE",
            "CLIENT PAUSE 100000 WRITE;GET s1;CLIENT UNPAUSE",
            "CLIENT TRACKINGINFO",
            "CLIENT GETREDIR",
            "CLIENT NOSUCH",
            "CLIENT",
            "HELLO",
            "HELLO 3",
            "HELLO 2",
            "HELLO 2 SETNAME n",
            "HELLO 4",
            "HELLO x",
            "HELLO 3 AUTH ann pw1",
            "HELLO 3 AUTH ann bad",
            "HELLO 3 SETNAME a AUTH ann pw1",
            "HELLO 3 NOSUCH",
            "HELLO 3 AUTH ann",
            "RESET",
            "QUIT",
            "AUTH ann pw1",
            "AUTH ann bad",
            "AUTH bad",
            "AUTH default x",
            "AUTH a b c",
            "ACL WHOAMI",
            "SELECT 1",
            "SELECT 0",
            "SELECT x",
            "SELECT 99",
            "MULTI",
            "EXEC",
            "WATCH s1",
            "SUBSCRIBE a",
            "PSUBSCRIBE a*",
            "SSUBSCRIBE a",
            "UNSUBSCRIBE",
            "PUNSUBSCRIBE",
            "SUNSUBSCRIBE",
            "CLIENT TRACKING ON",
            "CLIENT TRACKING ON BCAST",
            "CLIENT TRACKING OFF",
            "ECHO x",
            "PING",
            "PING x",
            "BLPOP none 0",
            "GET s1;CLIENT LIST",
            "ACL DELUSER ann",
            "ACL SETUSER ann on >pw1 ~* &* +@all",
            "ACL SETUSER ann off",
        ],
        commands: &["client|setname", "client|list", "hello", "auth", "select", "echo", "ping", "client|no-evict"],
        data_percent: 8,
    },
    Topic {
        name: "users",
        opening: &["ACL SETUSER ann on >pw1 ~s* %R~h* &news* +@all -@dangerous"],
        lines: &[
            "AUTH ann pw1",
            "AUTH ann pw1",
            "AUTH ann pw2",
            "AUTH bob pw1",
            "ACL WHOAMI",
            "ACL LOG",
            "ACL LOG 2",
            "ACL LOG RESET",
            "ACL USERS",
            "ACL LIST",
            "ACL GETUSER ann",
            "PUBLISH news x",
            "PUBLISH other x",
            "SUBSCRIBE news",
            "SUBSCRIBE other",
            "PSUBSCRIBE news*",
            "PSUBSCRIBE *",
            "SSUBSCRIBE newspaper",
            "MULTI",
            "EXEC",
            "SORT s1 BY h*",
            "SORT l1 GET s*",
            "RESET",
            "EVAL return(redis.call('get','h1')) 0",
            "EVAL return(redis.call('set','h1','x')) 0",
            "CONFIG GET maxmemory",
            "EVAL return(redis.acl_check_cmd('set','h1','x')) 0",
            "CLIENT LIST",
            "BLPOP l1 0.01",
            "GET s1;SET h1 x;GET h1",
            "OBJECT ENCODING s1",
            "COPY s1 t1",
            "COPY h1 s1",
            "MGET s1 h1 t1",
            "XREAD STREAMS x1 0",
            "ACL SETUSER bob on >pw1 +@all ~*",
        ],
        commands: &[
            "acl|setuser",
            "acl|getuser",
            "acl|deluser",
            "acl|dryrun",
            "acl|log",
            "acl|users",
            "acl|whoami",
            "acl|cat",
        ],
        data_percent: 40,
    },
];

/// Who says what next.
pub struct Talker<'a> {
    generator: Generator<'a>,
    grammar: &'a Grammar,
    data: Vec<&'a str>,
    random: Random,
    /// What it is about.
    pub topic: &'static Topic,
    openings: usize,
}

/// Clients of a talk.
pub const CLIENTS: usize = 3;
/// Of these only the first ones wait, so that one is left to wake them.
const WHO_WAIT: usize = 2;
/// Waiting for so many seconds is over soon, and from so many on it is never over.
const SOON: f64 = 0.02;
const NEVER: f64 = 100_000.0;

impl<'a> Talker<'a> {
    /// For one talk.
    pub fn new(grammar: &'a Grammar, seed: u64) -> Self {
        let data = grammar.commands.iter().filter(|(name, syntax)| {
            DATA_GROUPS.contains(&syntax.group.as_str())
                && !UNFIT.contains(&name.as_str())
                && !name.starts_with("object")
        });
        let data =
            data.map(|(name, _)| name.as_str()).filter(|name| !["multi", "exec", "discard"].contains(name)).collect();
        let topic = &TOPICS[(seed % TOPICS.len() as u64) as usize];
        Self {
            generator: Generator::new(grammar, Random::new(!seed)),
            grammar,
            data,
            random: Random::new(seed),
            topic,
            openings: 0,
        }
    }

    /// The versions of the protocol that the clients speak.
    pub fn versions(&mut self) -> Vec<u8> {
        (0..CLIENTS).map(|_| if self.random.percent(50) { 2 } else { 3 }).collect()
    }

    /// The next turn.
    pub fn turn(&mut self, parties: &Parties<'_>) -> Turn {
        if let Some(line) = self.topic.opening.get(self.openings) {
            self.openings += 1;
            return turn(0, requests(line));
        }
        loop {
            let who = self.random.below(CLIENTS);
            if parties.waits(who) {
                continue;
            }
            let requests = self.requests(parties.is_in_transaction(who));
            let turn = turn(who, requests);
            if self.is_fit(&turn, parties.is_in_transaction(who)) {
                return turn;
            }
        }
    }

    fn requests(&mut self, is_in_transaction: bool) -> Vec<Vec<Vec<u8>>> {
        if is_in_transaction && self.random.percent(30) {
            return requests("EXEC");
        }
        if self.random.percent(self.topic.data_percent) {
            let name = *self.random.one_of(&self.data);
            return vec![self.generator.of_command(name)];
        }
        if self.random.percent(25) {
            let name = *self.random.one_of(self.topic.commands);
            if self.grammar.commands.contains_key(name) {
                let mut request = self.generator.of_command(name);
                // Everybody must be heard afterwards.
                if name == "acl|setuser" && request.len() > 2 {
                    request.push(b"+ping".to_vec());
                }
                return vec![request];
            }
        }
        requests(self.random.one_of::<&str>(self.topic.lines))
    }

    /// Whether both servers must answer the same, and at once or not before another turn.
    fn is_fit(&self, turn: &Turn, is_in_transaction: bool) -> bool {
        let first = &turn.requests[0];
        let name = name_of(first);
        if is_in_transaction {
            // What is queued is answered once, and what ends the transaction must end it.
            let ends = matches!(name.as_str(), "EXEC" | "DISCARD" | "RESET");
            let changes = matches!(
                name.as_str(),
                "HELLO" | "QUIT" | "AUTH" | "CLIENT" | "SUBSCRIBE" | "PSUBSCRIBE" | "SSUBSCRIBE"
            );
            let leaves = name.ends_with("UNSUBSCRIBE") || name == "ACL";
            if turn.requests.len() > 1 || changes || leaves || (ends && first.len() > 1) {
                return false;
            }
        }
        if name == "MULTI" && first.len() > 1 {
            // It begins nothing, and cannot be told from one that does.
            return false;
        }
        if turn.may_wait && !is_in_transaction && turn.who >= WHO_WAIT {
            return false;
        }
        turn.requests.iter().all(|request| {
            if turn.may_wait {
                return times(request).iter().all(|time| *time <= SOON || *time >= NEVER);
            }
            !is_racy(request)
        })
    }
}

fn turn(who: usize, requests: Vec<Vec<Vec<u8>>>) -> Turn {
    let is_blocking = |request: &Vec<Vec<u8>>| {
        let name = name_of(request);
        let is_told = request.iter().any(|word| word.eq_ignore_ascii_case(b"block"));
        name.starts_with('B') && !name.starts_with("BIT") || name.starts_with("XREAD") && is_told
    };
    let may_wait = requests.iter().any(is_blocking);
    let is_answered_soon =
        may_wait && requests.iter().flat_map(|request| times(request)).any(|time| time > 0.0 && time <= SOON);
    Turn { who, requests, may_wait, is_answered_soon }
}

/// Numbers in a request that may say how many seconds it waits.
fn times(request: &[Vec<u8>]) -> Vec<f64> {
    let is_stream = name_of(request).starts_with('X');
    let number = |word: &Vec<u8>| std::str::from_utf8(word).ok().and_then(|word| word.trim().parse::<f64>().ok());
    if is_stream {
        let place = request.iter().position(|word| word.eq_ignore_ascii_case(b"block"));
        return place.and_then(|place| number(request.get(place + 1)?)).map(|ms| ms / 1000.0).into_iter().collect();
    }
    let place = if name_of(request).ends_with("MPOP") { Some(1) } else { request.len().checked_sub(1) };
    place.and_then(|place| number(request.get(place)?)).into_iter().collect()
}

fn requests(line: &str) -> Vec<Vec<Vec<u8>>> {
    let words = |request: &str| request.split(' ').map(|word| word.as_bytes().to_vec()).collect();
    line.split(';').map(words).collect()
}

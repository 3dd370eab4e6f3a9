//! Requests: those of the scripts, a few more for commands that no script calls, and what may be edited in them.

use super::{of_scripts, words};
use server::command::table::table;
use server::command::{Flags, Group};

/// A request's words.
type Request = Vec<Vec<u8>>;

/// What requests begin as.
pub struct Requests(Vec<Request>);

/// Commands that no script calls.
const MORE: &[&str] = &[
    "MULTI",
    "EXEC",
    "DISCARD",
    "WATCH k h",
    "UNWATCH",
    "PING",
    "PING x",
    "ECHO x",
    "SELECT 1",
    "SELECT 0",
    "QUIT",
    "RESET",
    "HELLO",
    "HELLO 3",
    "HELLO 2 SETNAME x",
    "HELLO 3 AUTH default x",
    "AUTH x",
    "AUTH default x",
    "COMMAND",
    "COMMAND COUNT",
    "COMMAND INFO get set",
    "COMMAND DOCS get",
    "COMMAND GETKEYS mset a b c d",
    "COMMAND GETKEYSANDFLAGS set a b",
    "COMMAND LIST FILTERBY PATTERN s*",
    "COMMAND LIST FILTERBY ACLCAT string",
    "COMMAND LIST FILTERBY MODULE x",
    "CLIENT ID",
    "CLIENT INFO",
    "CLIENT LIST",
    "CLIENT LIST ID 1 2",
    "CLIENT LIST TYPE normal",
    "CLIENT GETNAME",
    "CLIENT SETNAME x",
    "CLIENT SETINFO LIB-NAME x",
    "CLIENT KILL ID 9999",
    "CLIENT KILL 1.2.3.4:5",
    "CLIENT NO-EVICT on",
    "CLIENT CACHING yes",
    "CLIENT TRACKING off",
    "CLIENT UNBLOCK 1",
    "COMMAND HELP",
    "LATENCY HELP",
    "MEMORY HELP",
    "SLOWLOG HELP",
    "PELAGO CUT",
    "PELAGO HEAL",
    "CLIENT NO-TOUCH off",
    "CLIENT REPLY ON",
    "CLIENT UNPAUSE",
    "CLIENT HELP",
    "CLIENT GETREDIR",
    "CLIENT TRACKINGINFO",
    "CONFIG GET maxmemory* save",
    "CONFIG SET slowlog-max-len 10",
    "CONFIG RESETSTAT",
    "CONFIG HELP",
    "INFO",
    "INFO all cpu",
    "DBSIZE",
    "FLUSHDB",
    "FLUSHALL ASYNC",
    "TIME",
    "LASTSAVE",
    "ROLE",
    "LOLWUT",
    "SLOWLOG GET 10",
    "SLOWLOG LEN",
    "SLOWLOG RESET",
    "LATENCY DOCTOR",
    "MEMORY USAGE k SAMPLES 5",
    "MEMORY STATS",
    "MEMORY DOCTOR",
    "OBJECT ENCODING n",
    "OBJECT IDLETIME h",
    "OBJECT REFCOUNT s",
    "OBJECT FREQ k",
    "RANDOMKEY",
    "SPOP s 2",
    "ZRANDMEMBER z -5 WITHSCORES",
    "ZRANGE z 0 9223372036854775807 REV WITHSCORES",
    "ZADD large 9223372036854775807 x",
    "SSCAN words 0 COUNT 9223372036854775807",
    "SRANDMEMBER words -5",
    "HRANDFIELD h -3 WITHVALUES",
    "DEBUG JMAP",
    "PELAGO HELP",
    "PELAGO STATUS",
    "PELAGO LAG",
    "PELAGO VERIFY 10",
    "PELAGO REGION LIST",
    "PELAGO REGION ADD {}",
    "PELAGO REGION REMOVE x",
    "PELAGO SEAL x",
    "PELAGO RELEASE-DRIFT x",
    "PELAGO BACKUP",
    "PELAGO BACKUP BEGIN",
    "PELAGO BACKUP BEGIN LEASE 1000",
    "PELAGO BACKUP BEGIN LEASE x",
    "PELAGO BACKUP READ 0123456789abcdef checkpoint 0 100",
    "PELAGO BACKUP READ 0123456789abcdef checkpoint 0 100 UNLESS 0123456789abcdef",
    "PELAGO BACKUP READ 0123456789abcdef ../../etc/passwd -1 9223372036854775807 UNLESS x",
    "PELAGO BACKUP END 0123456789abcdef",
    "PELAGO BACKUP END",
    "PELAGO BACKUP x",
    "SUBSCRIBE c d",
    "UNSUBSCRIBE c",
    "UNSUBSCRIBE",
    "PSUBSCRIBE c* ?[a",
    "PUNSUBSCRIBE",
    "SSUBSCRIBE c",
    "SUNSUBSCRIBE",
    "SPUBLISH c x",
    "PUBSUB CHANNELS c*",
    "PUBSUB NUMPAT",
    "PUBSUB NUMSUB c d",
    "PUBSUB SHARDCHANNELS",
    "PUBSUB SHARDNUMSUB c",
    "PUBSUB HELP",
    "MONITOR",
    "EVAL return(1) 0",
    "EVAL return{KEYS[1],ARGV[1]} 1 k x",
    "EVAL return(redis.call(ARGV[1],KEYS[1],unpack(ARGV,2))) 1 k set x EX 100",
    "EVAL return(redis.pcall(ARGV[1],'undeclared',unpack(ARGV,2))) 1 k rpush x y",
    "EVAL return(cjson.encode(cjson.decode(ARGV[1]))) 0 [1,{}]",
    "EVAL return(cmsgpack.pack(cmsgpack.unpack(ARGV[1]))) 0 text",
    "EVAL return(struct.pack(ARGV[1],ARGV[2],ARGV[3])) 0 >I2 1 2",
    "EVAL return(bit.lshift(ARGV[1],ARGV[2])) 0 1 31",
    "EVAL return(ARGV[1]:rep(ARGV[2]):format(1,2)) 0 %d 3",
    "EVAL return(string.find(ARGV[1],ARGV[2])) 0 aaaa (a)*b",
    "EVAL return(tonumber(ARGV[1])) 0 1.5",
    "EVAL return(#!lua 0",
    "EVAL_RO return(redis.call(ARGV[1],KEYS[1])) 1 h hgetall",
    "EVALSHA e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0",
    "EVALSHA_RO e0e1f9fabfc9d4800c877a703b823ac0578ff8db 0",
    "SCRIPT LOAD return(1)",
    "SCRIPT EXISTS e0e1f9fabfc9d4800c877a703b823ac0578ff8db x",
    "SCRIPT FLUSH ASYNC",
    "SCRIPT KILL",
    "SCRIPT DEBUG NO",
    "SCRIPT HELP",
    "FCALL apply 1 k get",
    "FCALL apply 1 h hset f x g y",
    "FCALL_RO apply 1 k get",
    "FUNCTION DELETE own",
    "FUNCTION FLUSH",
    "FUNCTION LIST LIBRARYNAME o* WITHCODE",
    "FUNCTION DUMP",
    "FUNCTION RESTORE x REPLACE",
    "FUNCTION STATS",
    "FUNCTION KILL",
    "FUNCTION HELP",
    "ACL HELP",
    "CLUSTER ADDSLOTS 1",
    "CLUSTER ADDSLOTSRANGE 1 2",
    "CLUSTER BUMPEPOCH",
    "CLUSTER COUNT-FAILURE-REPORTS x",
    "CLUSTER COUNTKEYSINSLOT 1",
    "CLUSTER DELSLOTS 1",
    "CLUSTER DELSLOTSRANGE 1 2",
    "CLUSTER FAILOVER",
    "CLUSTER FLUSHSLOTS",
    "CLUSTER FORGET x",
    "CLUSTER GETKEYSINSLOT 1 2",
    "CLUSTER HELP",
    "CLUSTER LINKS",
    "CLUSTER MEET 127.0.0.1 1",
    "CLUSTER MYID",
    "CLUSTER NODES",
    "CLUSTER REPLICAS x",
    "CLUSTER REPLICATE x",
    "CLUSTER RESET",
    "CLUSTER SAVECONFIG",
    "CLUSTER SET-CONFIG-EPOCH 1",
    "CLUSTER SETSLOT 1 STABLE",
    "CLUSTER SHARDS",
    "CLUSTER SLAVES x",
    "MODULE HELP",
    "MODULE LIST",
    "MODULE LOAD x",
    "MODULE LOADEX x CONFIG a b",
    "MODULE UNLOAD x",
    "SENTINEL CKQUORUM x",
    "SENTINEL FAILOVER x",
    "SENTINEL FLUSHCONFIG",
    "SENTINEL GET-MASTER-ADDR-BY-NAME x",
    "SENTINEL HELP",
    "SENTINEL IS-MASTER-DOWN-BY-ADDR 127.0.0.1 1 0 *",
    "SENTINEL MASTER x",
    "SENTINEL MASTERS",
    "SENTINEL MYID",
    "SENTINEL PENDING-SCRIPTS",
    "SENTINEL REPLICAS x",
    "SENTINEL RESET *",
    "SENTINEL SENTINELS x",
    "SENTINEL SLAVES x",
    "PELAGO TOKEN",
    "PELAGO AWAIT x 10",
];

/// A library whose function calls what it is given.
const LIBRARY: &[&[u8]] = &[
    b"FUNCTION",
    b"LOAD",
    b"REPLACE",
    b"#!lua name=own\nredis.register_function('apply', function(keys, args) return redis.call(args[1], keys[1], unpack(args, 2)) end)",
];

/// What takes the place of a word: ends of ranges, wrong types, words of the grammar.
const WORDS: &[&[u8]] = &[
    b"",
    b"0",
    b"-0",
    b"1",
    b"-1",
    b"2",
    b"3",
    b"63",
    b"64",
    b"100",
    b"-100",
    b"4294967295",
    b"4294967296",
    b"8388607",
    b"8388608",
    b"1048575",
    b"1048576",
    b"2147483647",
    b"2147483648",
    b"-2147483648",
    b"-2147483649",
    b"9223372036854775807",
    b"9223372036854775806",
    b"9223372036854775808",
    b"-9223372036854775808",
    b"-9223372036854775807",
    b"-9223372036854775809",
    b"18446744073709551615",
    b"18446744073709551616",
    b"9223372036854775",
    b"-9223372036854775",
    b"9223372036854776",
    b"99999999999999999999999999",
    b"1.5",
    b"-1.5",
    b"1e400",
    b"-1e400",
    b"1e308",
    b"1e-400",
    b"nan",
    b"-nan",
    b"inf",
    b"-inf",
    b"+1",
    b" 1",
    b"1 ",
    b"01",
    b"0x10",
    b"1e5",
    b"#0",
    b"#1",
    b"#9223372036854775807",
    b"u63",
    b"i64",
    b"u64",
    b"i65",
    b"u0",
    b"i0",
    b"k",
    b"max",
    b"min",
    b"float",
    b"short",
    b"late",
    b"n",
    b"h",
    b"s",
    b"words",
    b"f",
    b"g",
    b"e",
    b"t",
    b"nothing",
    b"*",
    b"[",
    b"[a",
    b"[^]",
    b"\\",
    b"?*?",
    b"\xff\xfe",
    b"a b",
    b"\r\n",
    b"EX",
    b"PX",
    b"EXAT",
    b"PXAT",
    b"NX",
    b"XX",
    b"GT",
    b"LT",
    b"KEEPTTL",
    b"GET",
    b"SET",
    b"INCRBY",
    b"PERSIST",
    b"BYTE",
    b"BIT",
    b"OVERFLOW",
    b"SAT",
    b"WRAP",
    b"FAIL",
    b"AND",
    b"NOT",
    b"XOR",
    b"LIMIT",
    b"COUNT",
    b"MATCH",
    b"TYPE",
    b"IDX",
    b"LEN",
    b"MINMATCHLEN",
    b"WITHMATCHLEN",
    b"WITHVALUES",
    b"REPLACE",
    b"DB",
    b"ID",
    b"ADDR",
    b"SKIPME",
    b"yes",
    b"no",
    b"SAMPLES",
    b"z",
    b"places",
    b"(1",
    b"(inf",
    b"[a",
    b"(a",
    b"-",
    b"+",
    b"CH",
    b"INCR",
    b"BYSCORE",
    b"BYLEX",
    b"REV",
    b"WITHSCORES",
    b"WEIGHTS",
    b"AGGREGATE",
    b"MAX",
    b"km",
    b"FROMMEMBER",
    b"FROMLONLAT",
    b"BYRADIUS",
    b"BYBOX",
    b"ANY",
    b"STORE",
    b"STOREDIST",
];

/// Random words from a seed (splitmix64).
pub struct Chance(u64);

impl Chance {
    /// The words of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x2545_f491_4f6c_dd1d))
    }

    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A number below `most`, which is not 0.
    pub fn below(&mut self, most: u64) -> u64 {
        self.draw() % most
    }

    fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }
}

impl Requests {
    /// All of them, without those that would end or hold up the test.
    pub fn new() -> Self {
        let mut all: Vec<Request> = of_scripts();
        all.extend(MORE.iter().map(|line| words(line)));
        all.push(LIBRARY.iter().map(|word| word.to_vec()).collect());
        all.retain(|request| !is_left_out(request));
        Self(all)
    }

    /// Whether one begins with these words.
    pub fn begin_with(&self, path: &[&str]) -> bool {
        self.0.iter().any(|request| begins_with(request, path))
    }

    /// One of them, with some edits: all commands are equally likely to be tried.
    pub fn edited(&self, chance: &mut Chance) -> Request {
        let entries = table().entries();
        let mut request = loop {
            let name = entries[chance.index(entries.len())].command.name;
            let known: Vec<&Request> = self.0.iter().filter(|request| begins_with(request, &[name])).collect();
            if !known.is_empty() {
                break known[chance.index(known.len())].clone();
            }
        };
        for _ in 0..chance.below(4) {
            edit(&mut request, chance);
        }
        if is_left_out(&request) { words("PING") } else { request }
    }
}

fn begins_with(request: &Request, path: &[&str]) -> bool {
    request.len() >= path.len()
        && request.iter().zip(path).all(|(word, name)| word.eq_ignore_ascii_case(name.as_bytes()))
}

/// Commands that are not tried, for what they do to whoever tries them.
pub fn left_out(path: &[&str]) -> bool {
    const LEFT_OUT: &[&[&str]] = &[
        // They stop the node, hold all clients up, or make answers not come.
        &["shutdown"],
        &["client", "pause"],
        &["client", "reply"],
        &["debug"],
        &["waitaof"],
    ];
    LEFT_OUT
        .iter()
        .any(|names| path.len() >= names.len() && names.iter().zip(path).all(|(a, b)| a.eq_ignore_ascii_case(b)))
}

fn is_left_out(request: &Request) -> bool {
    let path: Vec<String> = request.iter().take(2).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    let path: Vec<&str> = path.iter().map(String::as_str).collect();
    // Limits that keep the test small stay.
    left_out(&path)
        || (begins_with(request, &["config", "set"]) && request.iter().any(|word| word.starts_with(b"proto")))
}

fn edit(request: &mut Request, chance: &mut Chance) {
    let word = WORDS[chance.index(WORDS.len())].to_vec();
    let last = request.len() - 1;
    match chance.below(8) {
        0..=3 if last > 0 => request[1 + chance.index(last)] = word,
        4 if last > 0 => drop(request.remove(1 + chance.index(last))),
        5 => request.insert(1 + chance.index(last + 1), word),
        6 if last > 0 => {
            let (one, other) = (1 + chance.index(last), 1 + chance.index(last));
            request.swap(one, other);
        }
        7 if last > 0 => {
            let copied = request[1 + chance.index(last)].clone();
            request.push(copied);
        }
        _ => request.push(word),
    }
}

/// The request as a client sends it.
pub fn encode(request: &Request) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", request.len()).into_bytes();
    for word in request {
        bytes.extend(format!("${}\r\n", word.len()).bytes());
        bytes.extend(word);
        bytes.extend(b"\r\n");
    }
    bytes
}

/// Changes, removes or adds some bytes from `first` on.
pub fn damage(bytes: &mut Vec<u8>, first: usize, chance: &mut Chance) {
    const BYTES: &[u8] = b"\r\n*$+-:,_#0123456789\"' \x00\xff";
    for _ in 0..=chance.below(4) {
        if bytes.len() <= first {
            return;
        }
        let at = first + chance.index(bytes.len() - first);
        match chance.below(4) {
            0 => bytes[at] ^= 1 << chance.below(8),
            1 => drop(bytes.remove(at)),
            2 => bytes.insert(at, BYTES[chance.index(BYTES.len())]),
            _ => bytes.truncate(at + 1),
        }
    }
}

/// Whether Redis answers this as this server does, or refuses it with the same code: commands on keys, without chance
/// and without what depends on the hour.
pub fn is_comparable(request: &Request) -> bool {
    let Some(entry) = table().find(&request[0]) else { return false };
    let command = entry.command;
    let of_data = matches!(
        command.group,
        Group::String | Group::Bitmap | Group::Hash | Group::Set | Group::SortedSet | Group::Geo | Group::Generic
    );
    let by_chance = [
        "spop",
        "srandmember",
        "hrandfield",
        "zrandmember",
        "randomkey",
        "object",
        "keys",
        "wait",
        "migrate",
        "restore",
        "dump",
    ];
    // A life that ends while the test runs ends at another time there than here.
    let lives = ["expire", "pexpire", "setex", "psetex", "getex", "set", "expireat", "pexpireat"];
    let is_short = |word: &Vec<u8>| {
        std::str::from_utf8(word)
            .ok()
            .and_then(|text| text.parse::<i64>().ok())
            .is_some_and(|n| (1..10_000_000).contains(&n))
    };
    // Redis' floats reach further than those that other regions agree about.
    let too_far = |word: &Vec<u8>| word.ends_with(b"1e400");
    let is_far = command.name.ends_with("byfloat") && request.iter().any(too_far);
    // The C library's numbers may be hexadecimal, ours may not.
    let is_hexadecimal = request[1..].iter().any(|word| word.len() > 2 && word.windows(2).any(|two| two == b"0x"));
    // The Redis beside us is a 7.0.
    let is_newer = command.since > "7.1";
    // Who waits for a key has no answer to compare.
    let waits = command.flags.contains(Flags::BLOCKING);
    let is_random = command.flags.contains(Flags::NO_SCRIPT) || by_chance.contains(&command.name);
    let ends_soon = lives.contains(&command.name) && request[1..].iter().any(is_short);
    of_data && ![waits, is_far, is_hexadecimal, is_newer, is_random, ends_soon].contains(&true)
}

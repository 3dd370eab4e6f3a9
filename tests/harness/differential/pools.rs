//! Values that arguments are drawn from. The odd ones are what the comparison is for.
//!
//! No lifetime ends while a sequence runs: they are over at once or last for minutes.

/// Keys by what they mostly hold.
pub const STRING_KEYS: &[&str] = &["s1", "s2", "s3", "n1", "n2"];
/// Hashes.
pub const HASH_KEYS: &[&str] = &["h1", "h2", "h3"];
/// Sets.
pub const SET_KEYS: &[&str] = &["t1", "t2", "t3"];
/// Lists.
pub const LIST_KEYS: &[&str] = &["l1", "l2"];
/// HyperLogLogs. Nothing else is asked of them: Redis keeps an estimate in their bytes.
pub const SKETCH_KEYS: &[&str] = &["p1", "p2", "p3"];
/// Sorted sets.
pub const SORTED_KEYS: &[&str] = &["z1", "z2", "z3"];
/// Streams.
pub const STREAM_KEYS: &[&str] = &["x1", "x2"];
/// Ids of entries, and what is none.
pub const IDS: &[&str] = &[
    "0",
    "0-0",
    "0-1",
    "1",
    "1-1",
    "2-1",
    "3",
    "5-2",
    "-",
    "+",
    "(1-1",
    "(3",
    "$",
    ">",
    "=",
    "x",
    "",
    "1-",
    "-1",
    "1-1-1",
    "01-02",
    "18446744073709551615",
    "18446744073709551615-18446744073709551615",
    "18446744073709551616",
    "(-",
    "(",
];
/// Consumer groups, and who is in them.
pub const GROUPS: &[&str] = &["g1", "g1", "g2"];
/// Sorted sets of places.
pub const PLACE_KEYS: &[&str] = &["g1", "g2"];
/// All of them, and strange ones.
pub const ALL_KEYS: &[&str] =
    &["s1", "s2", "n1", "h1", "h2", "t1", "t2", "z1", "g1", "none", "", "{tag}k", "k\r\n\0\u{ff}"];
/// Fields and members.
pub const NAMES: &[&str] = &["a", "b", "c", "10", "-3", "007", "", "f\0g", "a longer name than others, with blanks"];
/// Values of strings and fields.
pub const VALUES: &[&str] = &[
    "1",
    "-7",
    "10",
    "text",
    "",
    "1.5",
    "3.0e3",
    "9223372036854775807",
    "-9223372036854775808",
    "01",
    " 1",
    "1 ",
    "ohmytext",
    "mynewtext",
    "9223372036854775808",
    "0x10",
    "inf",
    "nan",
    "-0",
    "\0\u{ff}\u{80}",
    "1e400",
    "a value that is longer than forty-four bytes, so that it is encoded otherwise",
];
/// Increments, counts and the like.
pub const INTEGERS: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "-1",
    "-2",
    "10",
    "100",
    "-100",
    "1000000",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "4294967296",
    "2147483648",
    "abc",
    "",
    "1.5",
    " 1",
    "+1",
    "01",
    "-0",
    "1e3",
];
/// Counts of elements to return: a huge one must not be believed.
pub const COUNTS: &[&str] =
    &["0", "1", "2", "5", "100", "-1", "-3", "-9223372036854775808", "9223372036854775807", "abc"];
/// Positions in strings and their bits.
pub const OFFSETS: &[&str] =
    &["0", "1", "7", "8", "13", "64", "100", "1000", "-1", "-9", "1000000", "4294967296", "abc", "#1", "#3"];
/// Ends of ranges.
pub const POSITIONS: &[&str] =
    &["0", "1", "2", "5", "17", "-1", "-2", "-9", "100", "-100", "9223372036854775807", "-9223372036854775808", "x"];
/// Increments of floats.
pub const DOUBLES: &[&str] =
    &["0", "1", "-1", "0.5", "-2.25", "3.0e3", "1e-3", "10.5", "inf", "-inf", "nan", "abc", "", "1e400", " 1"];
/// Scores; sums of a few of them are doubles.
pub const SCORES: &[&str] =
    &["0", "1", "2", "-1", "0.5", "-2.25", "3.0e3", "10.5", "7", "4", "inf", "-inf", "nan", "abc", "", "1e400", " 1"];
/// Ends of ranges of scores and of names, and ranks.
pub const ENDS: &[&str] = &[
    "0", "1", "-1", "2", "-2", "5", "(1", "(0", "-inf", "+inf", "(inf", "10.5", "-", "+", "[a", "(b", "[c", "[", "x",
    "", "100", "-100",
];
/// Ends of ranges of scores.
pub const SCORE_ENDS: &[&str] = &["0", "1", "-1", "(2", "5", "(1", "-inf", "+inf", "(inf", "10.5", "x", "", "100"];
/// Ends of ranges of names.
pub const NAME_ENDS: &[&str] = &["-", "+", "[a", "(b", "[c", "[", "(a longer", "[f", "x", ""];
/// Ranks.
pub const RANKS: &[&str] = &["0", "0", "1", "2", "-1", "-1", "-2", "100", "-100", "x", "9223372036854775807"];
/// Degrees that are both.
pub const DEGREES: &[&str] =
    &["13.361389", "38.115556", "15.087269", "37.502669", "-73.9", "40.7", "0", "84.5", "-12.25", "179.9", "86", "x"];
/// Radii, widths and heights.
pub const RADII: &[&str] = &["0", "1", "200", "1000", "5000", "20000", "0.5", "-1", "x"];
/// Kinds of bit fields.
pub const WIDTHS: &[&str] = &["u1", "i1", "u5", "i8", "u16", "i32", "u63", "i64", "u64", "u0", "i65", "x8", "8"];
/// Glob patterns.
pub const PATTERNS: &[&str] =
    &["*", "s*", "?1", "[hs]?", "[^a]*", "[a-n]1", "\\*", "h\\1", "", "**1", "[", "[a-", "a*b*c"];
/// Keys that `SORT` mostly sorts.
pub const SORTED_BY_SORT_KEYS: &[&str] = &["l1", "l2", "l1", "l2", "t1", "t2", "z1", "z2", "s1"];
/// Patterns that name keys for elements.
pub const KEY_PATTERNS: &[&str] =
    &["s*", "n*", "h*->a", "h*->10", "h*->", "h*", "#", "nosort", "*", "*1", "l*", "**", "s*->a", "", "no*->a->b"];
/// Names of types.
pub const TYPES: &[&str] = &["string", "hash", "set", "list", "zset", "stream", "STRING", "nothing"];
/// Operations of BITOP.
pub const BIT_OPERATIONS: &[&str] = &["AND", "or", "XOR", "NOT", "NAND"];
/// Seconds that are over, last long, or are no lifetime.
pub const SECONDS: &[&str] = &[
    "100",
    "1000",
    "86400",
    "0",
    "-1",
    "9223372036854775807",
    "9223372036854775",
    "-9223372036854775808",
    "abc",
    "1.5",
];
/// The same in milliseconds.
pub const MILLISECONDS: &[&str] =
    &["100000", "1000000", "0", "-1", "9223372036854775807", "-9223372036854775808", "abc"];
/// Moments that are over or far away, in seconds.
pub const MOMENTS: &[&str] =
    &["1", "33177117420", "33177117421", "0", "-1", "9223372036854775807", "9223372036854776", "abc"];
/// The same in milliseconds.
pub const MOMENTS_MS: &[&str] = &["1", "33177117420000", "33177117421500", "0", "-1", "9223372036854775807", "abc"];
/// Words that stand where they should not.
pub const ODD_WORDS: &[&str] =
    &["", "abc", "-1", "0", "NX", "XX", "LIMIT", "9223372036854775807", "\0", "1.0", "withvalues"];
/// Users that come and go; nobody touches the one that all clients are.
pub const USERS: &[&str] = &["ann", "bob", "ann", "bob", "nobody", ""];
/// Their passwords.
pub const PASSWORDS: &[&str] = &["pw1", "pw2", "pw1", "", "wrong"];
/// Access rules, and what is none.
#[rustfmt::skip]
pub const RULES: &[&str] = &[
    "on", "off", "nopass", "resetpass", ">pw1", ">pw2", "<pw1", "<pw3", ">", "~*", "~s*", "~h*", "%R~s*", "%W~t*", "%RW~x*",
    "%X~a", "%R", "~", "allkeys", "resetkeys", "&*", "&news*", "&", "allchannels", "resetchannels", "+@all", "-@all", "+@read",
    "-@write", "+@string", "-@hash", "+@dangerous", "-@fast", "+get", "-get", "+set", "-del", "+hset", "+config|get",
    "-config|get", "-config", "+config", "+client|id", "-client|nosuch", "+get|x", "+select|0", "-select|0", "+nosuch",
    "+@nosuch", "-@", "+", "-", "allcommands", "nocommands", "(+get ~a*)", "(+@read ~s* %W~h*)", "(+nosuch)", "(bad", "()",
    "clearselectors", "reset", "sanitize-payload", "skip-sanitize-payload", "nonsense", "", "ON", "+GET", "+@READ",
    "#2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683", "#xyz",
    "!2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683", "!abc",
];
/// Categories of commands.
pub const CATEGORIES: &[&str] = &["read", "write", "string", "fast", "connection", "scripting", "READ", "nosuch", ""];
/// Channels.
pub const CHANNELS: &[&str] = &["news", "news.art", "a", "b", "other", "\0"];
/// Names of clients.
pub const CLIENT_NAMES: &[&str] = &["one", "two", "one two", "", "\u{ff}", "a\nb", "none"];
/// Numbers of clients: nobody has one of these.
pub const CLIENTS: &[&str] = &["0", "-1", "123456789", "x", "", "9223372036854775808"];
/// Settings that both servers have and that change no data.
#[rustfmt::skip]
pub const SETTINGS: &[&str] = &[
    "maxmemory-policy", "maxmemory-samples", "hash-max-listpack-entries", "hash-max-ziplist-value", "set-max-intset-entries",
    "zset-max-listpack-entries", "notify-keyspace-events", "slowlog-max-len", "lua-time-limit", "busy-reply-threshold",
    "tracking-table-max-keys", "acllog-max-len", "client-query-buffer-limit", "client-output-buffer-limit", "lfu-log-factor",
    "lfu-decay-time", "nosuch", "", "MAXMEMORY-POLICY", "[a-l]fu*",
];
/// What they are set to, or not.
#[rustfmt::skip]
pub const SETTING_VALUES: &[&str] = &[
    "0", "1", "-1", "100", "64", "10mb", "1gb", "2G", "1k", "abc", "", "yes", "no", "maybe", "allkeys-lru", "volatile-ttl",
    "noeviction", "NoEviction", "KEA", "Ex", "xyz", "normal 0 0 0", "pubsub 32mb 8mb 60", "replica 1 2", "nobody 0 0 0",
    "normal 1 2 x", "99999999999999999999", "1.5", "10%", "-5%",
];

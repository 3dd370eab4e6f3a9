//! The rows of the contract as data.

/// A case: what is there before, what two regions do without knowing of each other, what every region answers then.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The contract's words.
    pub name: &'static str,
    /// The database of all commands.
    pub database: &'static str,
    /// Known everywhere before. `K`, `L` and `M` are keys of this row alone.
    pub setup: &'static [&'static str],
    /// What one region does first.
    pub a: &'static [&'static str],
    /// What the other does after that, so with later stamps.
    pub b: &'static [&'static str],
    /// Commands that every region answers so, one region after the other.
    pub reads: &'static [(&'static str, &'static str)],
    /// Whether the same comes out if the second region was first.
    pub either_order: bool,
}

type Lines = &'static [&'static str];

/// The outcome is the same whoever was first.
const fn any(
    name: &'static str,
    setup: Lines,
    a: Lines,
    b: Lines,
    reads: &'static [(&'static str, &'static str)],
) -> Row {
    Row { name, database: "0", setup, a, b, reads, either_order: true }
}

/// The outcome depends on who was later.
const fn later(
    name: &'static str,
    setup: Lines,
    a: Lines,
    b: Lines,
    reads: &'static [(&'static str, &'static str)],
) -> Row {
    Row { name, database: "0", setup, a, b, reads, either_order: false }
}

/// The rows that can share a cluster.
#[rustfmt::skip]
pub const ROWS: &[Row] = &[
    // string
    later("SET ‖ SET: the later stamp", &[], &["SET K a"], &["SET K b"], &[("GET K", "b")]),
    later("SET ‖ SET after a common value", &["SET K 0"], &["SET K a"], &["SET K b"], &[("GET K", "b")]),
    any("DEL ‖ SET: the SET stands", &["SET K 0"], &["DEL K"], &["SET K b"], &[("GET K", "b"), ("EXISTS K", "1")]),
    any("DEL, with a write of its own before ‖ SET", &["SET K 0"], &["SET K 1", "DEL K"], &["SET K b"], &[("GET K", "b")]),
    any("DEL ‖ DEL", &["SET K 0"], &["DEL K"], &["UNLINK K"], &[("GET K", "nil"), ("TYPE K", "none")]),
    later("SET ‖ APPEND: the text behind the SET", &["SET K 0"], &["SET K a"], &["APPEND K x"], &[("GET K", "ax")]),
    later("SET ‖ APPEND: the later whole value", &["SET K 0"], &["APPEND K x"], &["SET K a"], &[("GET K", "a")]),
    any("SETRANGE ‖ APPEND: both", &["SET K abc"], &["APPEND K d"], &["SETRANGE K 0 X"], &[("GET K", "Xbcd")]),
    later("APPEND ‖ APPEND: both, in the order of their stamps", &["SET K 0"], &["APPEND K a", "APPEND K b"], &["APPEND K x"], &[("GET K", "0abx"), ("STRLEN K", "4")]),
    later("APPEND ‖ APPEND on nothing", &[], &["APPEND K a"], &["APPEND K x"], &[("GET K", "ax")]),
    any("SETRANGE ‖ SETRANGE of other bytes: both", &["SET K abcdef"], &["SETRANGE K 0 XX"], &["SETRANGE K 4 YY"], &[("GET K", "XXcdYY")]),
    later("SETRANGE ‖ SETRANGE of one byte: the later stamp", &["SET K abcdef"], &["SETRANGE K 0 XXX"], &["SETRANGE K 2 YY"], &[("GET K", "XXYYef")]),
    any("DEL ‖ APPEND: what was observed is gone", &["SET K old"], &["DEL K"], &["APPEND K x"], &[("GET K", "x")]),
    any("DEL ‖ SETBIT: the bit stands", &["SETBIT K 3 1"], &["DEL K"], &["SETBIT K 7 1"], &[("BITCOUNT K", "1"), ("GETBIT K 7", "1")]),
    any("RENAME ‖ APPEND: the text stands at the source", &["SET K a", "APPEND K b"], &["RENAME K L"], &["APPEND K x"], &[("GET K", "x"), ("GET L", "ab")]),
    any("PFADD ‖ PFADD: the union", &[], &["PFADD K a b c"], &["PFADD K c d"], &[("PFCOUNT K", "4"), ("TYPE K", "string")]),
    any("DEL ‖ PFADD: what was observed is gone", &["PFADD K a b c"], &["DEL K"], &["PFADD K d"], &[("PFCOUNT K", "1")]),
    any("PFMERGE ‖ PFADD: the union", &["PFADD K a b", "PFADD L c d"], &["PFMERGE K L"], &["PFADD K e"], &[("PFCOUNT K", "5"), ("PFCOUNT L", "2")]),
    later("GETSET ‖ SET", &["SET K 0"], &["GETSET K a"], &["SET K b"], &[("GET K", "b")]),
    any("SETBIT ‖ SETBIT of other bits: both", &["SET K \"\""], &["SETBIT K 1 1"], &["SETBIT K 7 1"], &[("BITCOUNT K", "2"), ("GETBIT K 7", "1"), ("GETBIT K 1", "1")]),
    any("SETBIT ‖ SETBIT on nothing: both", &[], &["SETBIT K 1 1"], &["SETBIT K 100 1"], &[("BITCOUNT K", "2"), ("STRLEN K", "13")]),
    later("SETBIT ‖ SETBIT of one bit: the later stamp", &[], &["SETBIT K 1 1"], &["SETBIT K 1 0"], &[("BITCOUNT K", "0")]),
    any("BITFIELD ‖ BITFIELD of other bits: both", &[], &["BITFIELD K SET u8 0 1"], &["BITFIELD K SET u8 8 2"], &[("BITFIELD_RO K GET u8 0 GET u8 8", "[1 2]")]),
    any("GETDEL ‖ SET: the SET stands", &["SET K 0"], &["GETDEL K"], &["SET K b"], &[("GET K", "b")]),
    later("MSET ‖ MSET, key by key", &[], &["MSET K 1 L 1"], &["MSET L 2 M 2"], &[("MGET K L M", "[1 2 2]")]),
    later("SET NX is regional: both are told OK, the later stands", &[], &["SET K a NX"], &["SET K b NX"], &[("GET K", "b"), ("SET K c NX", "nil")]),
    // counter
    any("INCRBY a ‖ INCRBY b: both count", &["SET K 10"], &["INCRBY K 5"], &["INCRBY K 7"], &[("GET K", "22")]),
    any("INCR ‖ DECR on nothing", &[], &["INCR K", "INCR K"], &["DECRBY K 5"], &[("GET K", "-3")]),
    any("INCRBYFLOAT ‖ INCRBYFLOAT", &["SET K 10.5"], &["INCRBYFLOAT K 0.25"], &["INCRBYFLOAT K -1"], &[("GET K", "9.75")]),
    any("INCRBY ‖ INCRBYFLOAT: the exact sum", &["SET K 10"], &["INCRBY K 5"], &["INCRBYFLOAT K 0.1"], &[("GET K", "15.1")]),
    any("exact sum of floats that binary numbers cannot hold", &["SET K 0.1"], &["INCRBYFLOAT K 0.2"], &["INCRBYFLOAT K 0.3"], &[("GET K", "0.6")]),
    any("SET v ‖ INCRBY a: v+a", &["SET K 10"], &["SET K 100"], &["INCRBY K 5"], &[("GET K", "105")]),
    any("SET v ‖ INCRBY a, several times", &["SET K 10"], &["INCR K", "SET K 100", "INCR K"], &["INCRBY K 5", "INCRBY K 5"], &[("GET K", "111")]),
    any("DEL ‖ INCRBY a: a", &["SET K 10"], &["DEL K"], &["INCRBY K 5"], &[("GET K", "5")]),
    any("DEL ‖ INCRBY a on a counter that was only counted", &["INCRBY K 10"], &["DEL K"], &["INCRBY K 5"], &[("GET K", "5")]),
    any("DEL ‖ INCRBYFLOAT a: a", &["INCRBYFLOAT K 4.1"], &["DEL K"], &["INCRBYFLOAT K 2"], &[("GET K", "2")]),
    any("SET abc ‖ INCR: the text stands", &["SET K 1"], &["SET K abc"], &["INCR K"], &[("GET K", "abc"), ("INCR K", "-ERR value is not an integer or out of range"), ("TYPE K", "string")]),
    any("a sum that leaves 64 bits: reads saturate, INCR is an overflow", &["SET K 9223372036854775800"], &["INCRBY K 5"], &["INCRBY K 5"], &[("GET K", "9223372036854775807"), ("INCR K", "-ERR increment or decrement would overflow")]),
    any("the same below", &["SET K -9223372036854775800"], &["DECRBY K 6"], &["DECRBY K 6"], &[("GET K", "-9223372036854775808"), ("DECR K", "-ERR increment or decrement would overflow")]),
    // hash
    any("HSET f ‖ HSET g: both", &[], &["HSET K f 1"], &["HSET K g 2"], &[("HGETALL K", "[f 1 g 2]")]),
    later("HSET f x ‖ HSET f y: the later stamp per field", &["HSET K f 0 g 0"], &["HSET K f x g x"], &["HSET K f y"], &[("HGETALL K", "[f y g x]")]),
    any("HDEL f ‖ HSET f x: the field stands", &["HSET K f 0 g 0"], &["HDEL K f"], &["HSET K f x"], &[("HGETALL K", "[f x g 0]")]),
    any("HDEL f ‖ HSET g: siblings are untouched", &["HSET K f 0 g 0"], &["HDEL K f"], &["HSET K g x"], &[("HGETALL K", "[g x]")]),
    any("DEL k ‖ HSET k f x: observed fields are gone", &["HSET K f 0 g 0"], &["DEL K"], &["HSET K f x"], &[("HGETALL K", "[f x]"), ("HLEN K", "1")]),
    any("HINCRBY ‖ HINCRBY: the sum", &["HSET K f 10"], &["HINCRBY K f 5"], &["HINCRBY K f 7"], &[("HGET K f", "22")]),
    any("HINCRBYFLOAT ‖ HINCRBY", &["HSET K f 10"], &["HINCRBYFLOAT K f 0.5"], &["HINCRBY K f 7"], &[("HGET K f", "17.5")]),
    any("HSET f v ‖ HINCRBY f: v and the increment", &["HSET K f 10"], &["HSET K f 100"], &["HINCRBY K f 5"], &[("HGET K f", "105")]),
    any("HDEL f ‖ HINCRBY f: the unobserved increments", &["HSET K f 10"], &["HDEL K f"], &["HINCRBY K f 5"], &[("HGETALL K", "[f 5]")]),
    any("HINCRBY that leaves 64 bits", &["HSET K f 9223372036854775800"], &["HINCRBY K f 7"], &["HINCRBY K f 7"], &[("HGET K f", "9223372036854775807"), ("HINCRBY K f 1", "-ERR increment or decrement would overflow")]),
    later("HSETNX is regional", &[], &["HSETNX K f a"], &["HSETNX K f b"], &[("HGET K f", "b")]),
    // lives of fields; deadlines in the years 3021 and 3022
    any("HEXPIRE ‖ HEXPIRE: the longest life", &["HSET K f 1 g 2"], &["HEXPIREAT K 33177117420 FIELDS 2 f g"], &["HEXPIREAT K 33208653420 FIELDS 1 f"], &[("HEXPIRETIME K FIELDS 2 f g", "[33208653420 33177117420]")]),
    any("HPERSIST ‖ HEXPIRE: no TTL is the longest", &["HSET K f 1", "HEXPIRE K 900 FIELDS 1 f"], &["HPERSIST K FIELDS 1 f"], &["HEXPIRE K 5000 FIELDS 1 f"], &[("HTTL K FIELDS 1 f", "[-1]")]),
    any("HSET f ‖ HEXPIRE f: the value, without a TTL", &["HSET K f 1", "HEXPIRE K 900 FIELDS 1 f"], &["HSET K f 2"], &["HEXPIRE K 5000 FIELDS 1 f"], &[("HGET K f", "2"), ("HTTL K FIELDS 1 f", "[-1]")]),
    later("HSETEX ‖ HSETEX: the later value, the longest life", &[], &["HSETEX K EXAT 33208653420 FIELDS 1 f a"], &["HSETEX K EXAT 33177117420 FIELDS 1 f b"], &[("HGET K f", "b"), ("HEXPIRETIME K FIELDS 1 f", "[33208653420]")]),
    any("HEXPIRE ‖ HINCRBY of a field with a longer TTL: the longer stays", &["HSETEX K EXAT 33208653420 FIELDS 1 f 1"], &["HEXPIREAT K 33177117420 FIELDS 1 f"], &["HINCRBY K f 2"], &[("HGET K f", "3"), ("HEXPIRETIME K FIELDS 1 f", "[33208653420]")]),
    any("HEXPIRE ‖ HINCRBY of a field without a TTL: the TTL, and the increment counts", &["HSET K f 1"], &["HEXPIREAT K 33177117420 FIELDS 1 f"], &["HINCRBY K f 2"], &[("HGET K f", "3"), ("HEXPIRETIME K FIELDS 1 f", "[33177117420]")]),
    any("HDEL ‖ HEXPIRE: gone", &["HSET K f 1 g 2"], &["HDEL K f"], &["HEXPIRE K 5000 FIELDS 1 f"], &[("HGETALL K", "[g 2]"), ("HLEN K", "1")]),
    any("DEL ‖ HEXPIRE: gone as a key", &["HSET K f 1"], &["DEL K"], &["HEXPIRE K 5000 FIELDS 1 f"], &[("EXISTS K", "0"), ("TYPE K", "none"), ("HLEN K", "0")]),
    any("HDEL and a new life ‖ HEXPIRE of the old: the new keeps its own", &["HSET K f 1 g 1"], &["HDEL K f", "HSET K f 2"], &["HEXPIRE K 1000 FIELDS 1 f"], &[("HGET K f", "2"), ("HTTL K FIELDS 1 f", "[-1]")]),
    any("HDEL and a new life with a TTL ‖ HEXPIRE of the old: the longest", &["HSET K f 1 g 1 h 1"], &["HDEL K f g", "HSETEX K EXAT 33177117420 FIELDS 1 f 2", "HSETEX K EXAT 33208653420 FIELDS 1 g 2"], &["HEXPIREAT K 33208653420 FIELDS 1 f", "HEXPIREAT K 33177117420 FIELDS 1 g"], &[("HMGET K f g", "[2 2]"), ("HEXPIRETIME K FIELDS 2 f g", "[33208653420 33208653420]")]),
    any("HEXPIRE into the past ‖ a write of the field: the write stands", &["HSET K f 1 g 1"], &["HEXPIRE K 0 FIELDS 1 f"], &["HSET K f 2"], &[("HGET K f", "2")]),
    later("a field expires ‖ a write of it: the write stands", &["HSETEX K PX 250 FIELDS 1 f 1"], &["until-gone K"], &["HSET K f 2"], &[("HGETALL K", "[f 2]"), ("HTTL K FIELDS 1 f", "[-1]")]),
    any("HGETDEL ‖ HGETDEL: gone", &["HSET K f 1 g 2"], &["HGETDEL K FIELDS 1 f"], &["HGETDEL K FIELDS 1 f"], &[("HGETALL K", "[g 2]")]),
    any("HGETEX ‖ HGETEX PERSIST: no TTL is the longest", &["HSETEX K EX 900 FIELDS 1 f 1"], &["HGETEX K EX 5000 FIELDS 1 f"], &["HGETEX K PERSIST FIELDS 1 f"], &[("HTTL K FIELDS 1 f", "[-1]")]),
    later("RENAME ‖ HEXPIRE: the copy has the ends that were observed", &["HSET K f 1"], &["RENAME K L"], &["HEXPIREAT K 33177117420 FIELDS 1 f"], &[("HTTL L FIELDS 1 f", "[-1]"), ("EXISTS K", "0")]),
    // set
    any("SADD x ‖ SADD y", &[], &["SADD K x"], &["SADD K y"], &[("SMEMBERS K", "[x y]"), ("SCARD K", "2")]),
    any("SADD x ‖ SREM x: x stands", &["SADD K x y"], &["SREM K x"], &["SADD K x"], &[("SMEMBERS K", "[x y]")]),
    any("SREM ‖ SREM: nothing left", &["SADD K x"], &["SREM K x"], &["SREM K x"], &[("EXISTS K", "0")]),
    any("DEL ‖ SADD y: what was observed is gone", &["SADD K x"], &["DEL K"], &["SADD K y"], &[("SMEMBERS K", "[y]")]),
    any("SPOP ‖ SPOP: both may be told the same, it is gone", &["SADD K x"], &["SPOP K"], &["SPOP K"], &[("SMEMBERS K", "[]")]),
    any("SMOVE ‖ SADD: the member stands in both", &["SADD K x"], &["SMOVE K L x"], &["SADD K x"], &[("SMEMBERS K", "[x]"), ("SMEMBERS L", "[x]")]),
    any("SUNIONSTORE ‖ SADD to the target", &["SADD K x", "SADD L old"], &["SUNIONSTORE L K"], &["SADD L y"], &[("SMEMBERS L", "[x y]")]),
    // sorted set
    any("ZADD x ‖ ZADD y", &[], &["ZADD K 1 x"], &["ZADD K 2 y"], &[("ZRANGE K 0 -1 WITHSCORES", "[x 1 y 2]"), ("ZCARD K", "2")]),
    later("ZADD x 1 ‖ ZADD x 2: the later stamp per member", &["ZADD K 0 x 0 y"], &["ZADD K 1 x 1 y"], &["ZADD K 2 x"], &[("ZRANGE K 0 -1 WITHSCORES", "[y 1 x 2]")]),
    any("ZREM x ‖ ZADD x: x stands", &["ZADD K 1 x 2 y"], &["ZREM K x"], &["ZADD K 1 x"], &[("ZRANGE K 0 -1 WITHSCORES", "[x 1 y 2]")]),
    any("ZINCRBY ‖ ZINCRBY: the sum", &["ZADD K 10 x"], &["ZINCRBY K 5 x"], &["ZINCRBY K 0.5 x"], &[("ZSCORE K x", "15.5")]),
    any("ZADD x s ‖ ZINCRBY x: s and the increment", &["ZADD K 10 x"], &["ZADD K 100 x"], &["ZINCRBY K 5 x"], &[("ZSCORE K x", "105")]),
    any("ZREM x ‖ ZINCRBY x: the unobserved increments", &["ZADD K 4.1 x"], &["ZREM K x"], &["ZINCRBY K 2 x"], &[("ZRANGE K 0 -1 WITHSCORES", "[x 2]")]),
    any("ZADD x inf ‖ ZINCRBY x: the infinity stands", &["ZADD K 1 x"], &["ZADD K inf x"], &["ZINCRBY K 2 x"], &[("ZSCORE K x", "inf")]),
    any("DEL ‖ ZADD y: what was observed is gone", &["ZADD K 1 x"], &["DEL K"], &["ZADD K 2 y"], &[("ZRANGE K 0 -1 WITHSCORES", "[y 2]")]),
    any("ZPOPMIN ‖ ZPOPMIN: both may be told the same, it is gone", &["ZADD K 1 x 2 y"], &["ZPOPMIN K"], &["ZPOPMIN K"], &[("ZRANGE K 0 -1", "[y]")]),
    any("ZREMRANGEBYSCORE ‖ ZADD into the range", &["ZADD K 1 x 2 y"], &["ZREMRANGEBYSCORE K 0 5"], &["ZADD K 3 z"], &[("ZRANGE K 0 -1", "[z]")]),
    any("ZUNIONSTORE ‖ ZADD to the target", &["ZADD K 1 x", "ZADD L 9 old"], &["ZUNIONSTORE L 1 K"], &["ZADD L 2 y"], &[("ZRANGE L 0 -1 WITHSCORES", "[x 1 y 2]")]),
    any("EXPIRE ‖ ZADD on a key with a longer TTL", &["ZADD K 1 x", "EXPIRE K 5000"], &["EXPIRE K 1000"], &["ZADD K 2 y"], &[("ZCARD K", "2"), ("TTL K", "4900..5000")]),
    later("SADD ‖ ZADD: one winner, the later", &[], &["SADD K x"], &["ZADD K 1 y"], &[("TYPE K", "zset"), ("ZRANGE K 0 -1", "[y]")]),
    // geo
    later("GEOADD x ‖ GEOADD x: the later stamp", &[], &["GEOADD K 0 0 x"], &["GEOADD K 13.361389 38.115556 x"], &[("GEOHASH K x", "[sqc8b49rny0]")]),
    any("GEOADD x ‖ GEOADD y", &[], &["GEOADD K 13.361389 38.115556 x"], &["GEOADD K 15.087269 37.502669 y"], &[("GEODIST K x y km", "166.2742"), ("ZCARD K", "2")]),
    // list
    later("RPUSH ‖ RPUSH: both in the order of their stamps", &[], &["RPUSH K a b"], &["RPUSH K x y"], &[("LRANGE K 0 -1", "[a b x y]"), ("LLEN K", "4")]),
    later("LPUSH ‖ LPUSH: the newest first", &["LPUSH K z"], &["LPUSH K a b"], &["LPUSH K x y"], &[("LRANGE K 0 -1", "[y x b a z]")]),
    later("one region's own pushes keep their order", &["RPUSH K z"], &["RPUSH K a", "RPUSH K b"], &["RPUSH K x", "RPUSH K y"], &[("LRANGE K 0 -1", "[z a b x y]")]),
    later("LINSERT AFTER ‖ LINSERT AFTER: both after it", &["RPUSH K x z"], &["LINSERT K AFTER x a"], &["LINSERT K AFTER x b"], &[("LRANGE K 0 -1", "[x b a z]")]),
    any("LPOP ‖ LPOP: the same element, gone afterwards", &["RPUSH K a b c"], &["LPOP K"], &["LPOP K"], &[("LRANGE K 0 -1", "[b c]")]),
    any("LPOP ‖ RPOP of the last two", &["RPUSH K a b"], &["LPOP K"], &["RPOP K"], &[("EXISTS K", "0")]),
    any("DEL ‖ RPUSH: what was not observed stands", &["RPUSH K a b"], &["DEL K"], &["RPUSH K y"], &[("LRANGE K 0 -1", "[y]")]),
    any("LTRIM ‖ RPUSH: what was not observed stands", &["RPUSH K a b c"], &["LTRIM K 0 0"], &["RPUSH K y"], &[("LRANGE K 0 -1", "[a y]")]),
    any("LREM ‖ RPUSH: what was not observed stands", &["RPUSH K a b a"], &["LREM K 0 a"], &["RPUSH K a"], &[("LRANGE K 0 -1", "[b a]")]),
    any("LMOVE ‖ LMOVE within a list: moved once or there twice", &["RPUSH K a b"], &["LMOVE K K LEFT RIGHT"], &["LMOVE K K LEFT RIGHT"], &[("LRANGE K 0 -1", "[b a a]")]),
    any("LMOVE ‖ LMOVE to other lists: in both", &["RPUSH K a b"], &["LMOVE K L LEFT RIGHT"], &["LMOVE K M LEFT RIGHT"], &[("LRANGE K 0 -1", "[b]"), ("LRANGE L 0 -1", "[a]"), ("LRANGE M 0 -1", "[a]")]),
    later("LSET ‖ LSET: the later stamp", &["RPUSH K a b c"], &["LSET K 1 x"], &["LSET K 1 y"], &[("LRANGE K 0 -1", "[a y c]")]),
    any("LSET ‖ LREM: the set element stands where it was", &["RPUSH K a b c"], &["LSET K 1 x"], &["LREM K 0 b"], &[("LRANGE K 0 -1", "[a x c]")]),
    any("LSET ‖ LPOP: the set element stands where it was", &["RPUSH K a b c"], &["LSET K 0 x"], &["LPOP K"], &[("LRANGE K 0 -1", "[x b c]")]),
    any("RENAME of a list ‖ RPUSH", &["RPUSH K a b"], &["RENAME K L"], &["RPUSH K y"], &[("LRANGE K 0 -1", "[y]"), ("LRANGE L 0 -1", "[a b]")]),
    any("BLPOP ‖ RPUSH: as LPOP", &["RPUSH K a"], &["BLPOP K 1"], &["RPUSH K y"], &[("LRANGE K 0 -1", "[y]")]),
    later("SADD ‖ RPUSH: one winner, the later", &[], &["SADD K x"], &["RPUSH K a"], &[("TYPE K", "list"), ("LRANGE K 0 -1", "[a]")]),
    // stream
    any("XADD * ‖ XADD *: both", &["XADD K 1-1 f z"], &["XADD K * f a", "XADD K * f b"], &["XADD K * f x"], &[("XLEN K", "4")]),
    any("XADD 5-* ‖ XADD 5-*: both, the node is in the sequence number", &[], &["XADD K 5-* f a"], &["XADD K 5-* f b"], &[("XLEN K", "2")]),
    later("XADD 5-1 ‖ XADD 5-1: the later stamp, the id once", &[], &["XADD K 5-1 f a"], &["XADD K 5-1 f b"], &[("XRANGE K - +", "[[5-1 [f b]]]"), ("XLEN K", "1")]),
    any("XADD ‖ XADD of a lower id: in the order of ids", &["XADD K 1 f z"], &["XADD K 5 f a", "XADD K 7 f c"], &["XADD K 6 f b"], &[("XRANGE K 5 +", "[[5-0 [f a]] [6-0 [f b]] [7-0 [f c]]]"), ("XREVRANGE K + - COUNT 1", "[[7-0 [f c]]]")]),
    any("DEL ‖ XADD: the new entry stands", &["XADD K 1 f z", "XADD K 2 f y"], &["DEL K"], &["XADD K 3 f a"], &[("XRANGE K - +", "[[3-0 [f a]]]")]),
    any("XTRIM ‖ XADD: the new entry stands", &["XADD K 1 f z", "XADD K 2 f y"], &["XTRIM K MAXLEN 0"], &["XADD K 3 f a"], &[("XRANGE K - +", "[[3-0 [f a]]]")]),
    any("XTRIM MINID ‖ XADD of a lower id: it stands", &["XADD K 1 f z", "XADD K 9 f y"], &["XTRIM K MINID 12"], &["XADD K 10 f a"], &[("XRANGE K - +", "[[10-0 [f a]]]")]),
    any("XADD MAXLEN ‖ XADD MAXLEN: what neither had observed stands", &["XADD K 1 f z", "XADD K 2 f y"], &["XADD K MAXLEN 1 3-1 f a"], &["XADD K MAXLEN 1 3-2 f b"], &[("XRANGE K - +", "[[3-1 [f a]] [3-2 [f b]]]")]),
    any("XDEL ‖ XADD: the new entry stands", &["XADD K 1 f z", "XADD K 2 f y"], &["XDEL K 2", "XADD K 3-1 f a"], &["XADD K 3-2 f b"], &[("XRANGE K - +", "[[1-0 [f z]] [3-1 [f a]] [3-2 [f b]]]")]),
    any("XDEL ‖ XDEL: both are gone", &["XADD K 1 f z", "XADD K 2 f y", "XADD K 3 f x"], &["XDEL K 1"], &["XDEL K 3"], &[("XRANGE K - +", "[[2-0 [f y]]]"), ("XADD K 3 f w", "-ERR The ID specified in XADD is equal or smaller than the target stream top item")]),
    any("XDEL ‖ DEL: an empty stream is left, with its last id", &["XADD K 1 f z"], &["XDEL K 1"], &["DEL K"], &[("TYPE K", "stream"), ("XLEN K", "0"), ("XADD K 1 f w", "-ERR The ID specified in XADD is equal or smaller than the target stream top item")]),
    any("XSETID ‖ XSETID: the greater last id", &["XADD K 1 f z"], &["XSETID K 5"], &["XSETID K 7"], &[("XADD K 7 f w", "-ERR The ID specified in XADD is equal or smaller than the target stream top item")]),
    any("RENAME of a stream ‖ XADD", &["XADD K 1 f z"], &["RENAME K L"], &["XADD K 2 f a"], &[("XRANGE K - +", "[[2-0 [f a]]]"), ("XRANGE L - +", "[[1-0 [f z]]]")]),
    any("EXPIRE of a stream ‖ XADD: the longer life", &["XADD K 1 f z", "EXPIRE K 5000"], &["EXPIRE K 1000"], &["XADD K 2 f a"], &[("XLEN K", "2"), ("TTL K", "4900..5000")]),
    // consumer groups
    any("XACK ‖ XACK: both, out of order too", &["XADD K 1 f z", "XADD K 2 f y", "XADD K 3 f x", "XGROUP CREATE K g 0"], &["XREADGROUP GROUP g c STREAMS K >", "XACK K g 3 1"], &["XREADGROUP GROUP g c STREAMS K >", "XACK K g 2"], &[("XPENDING K g", "[0 nil nil nil]"), ("XREADGROUP GROUP g c STREAMS K >", "nil")]),
    any("XACK: what is acknowledged anywhere is delivered nowhere", &["XADD K 1 f z", "XADD K 2 f y", "XADD K 3 f x", "XGROUP CREATE K g 0"], &["XREADGROUP GROUP g c STREAMS K >", "XACK K g 3 1", "XGROUP DELCONSUMER K g c"], &["XADD K 4 f w"], &[("XACK K g 1 3", "0")]),
    any("XREADGROUP passes over nothing that arrives late", &["XADD K 1 f z", "XGROUP CREATE K g 1"], &["XADD K 9 f a", "XREADGROUP GROUP g c STREAMS K >", "XACK K g 9"], &["XADD K 5 f b"], &[("XREADGROUP GROUP g c STREAMS K >", "[[5-0 [f b]]]"), ("XREADGROUP GROUP g c STREAMS K >", "nil")]),
    any("XGROUP CREATE at the end ‖ XADD of a lower id: it is delivered", &["XADD K 1 f z"], &["XADD K 9 f a", "XGROUP CREATE K g $"], &["XADD K 5 f b"], &[("XREADGROUP GROUP g c STREAMS K >", "[[5-0 [f b]]]")]),
    any("XGROUP CREATE ‖ XGROUP CREATE: one group, which delivers what either would", &["XADD K 1 f z"], &["XGROUP CREATE K g $"], &["XGROUP CREATE K g 0"], &[("XREADGROUP GROUP g c STREAMS K >", "[[1-0 [f z]]]")]),
    any("XGROUP DESTROY ‖ XGROUP SETID: the group stands", &["XADD K 1 f z", "XGROUP CREATE K g $"], &["XGROUP DESTROY K g"], &["XGROUP SETID K g 0"], &[("XREADGROUP GROUP g c STREAMS K >", "[[1-0 [f z]]]")]),
    any("XGROUP DESTROY ‖ XGROUP DESTROY: it is gone, the stream is not", &["XGROUP CREATE K g $ MKSTREAM"], &["XGROUP DESTROY K g"], &["XGROUP DESTROY K g"], &[("XINFO GROUPS K", "[]"), ("TYPE K", "stream")]),
    any("XACK ‖ XGROUP SETID: a new round", &["XADD K 1 f z", "XADD K 2 f y", "XGROUP CREATE K g 0"], &["XREADGROUP GROUP g c STREAMS K >", "XACK K g 1"], &["XGROUP SETID K g 0"], &[("XREADGROUP GROUP g c STREAMS K >", "[[1-0 [f z]] [2-0 [f y]]]"), ("XREADGROUP GROUP g c STREAMS K >", "nil")]),
    any("DEL ‖ XGROUP CREATE: the group stands in an empty stream", &["XADD K 1 f z"], &["DEL K"], &["XGROUP CREATE K g 0"], &[("XLEN K", "0"), ("XREADGROUP GROUP g c STREAMS K >", "nil")]),
    any("DEL ‖ XACK: nothing is left", &["XADD K 1 f z", "XGROUP CREATE K g 0"], &["DEL K"], &["XREADGROUP GROUP g c STREAMS K >", "XACK K g 1"], &[("EXISTS K", "0"), ("SET K v", "OK"), ("TYPE K", "string")]),
    any("RENAME of a stream ‖ nothing: what is acknowledged goes along", &["XADD K 1 f z", "XADD K 2 f y", "XGROUP CREATE K g 0"], &["XREADGROUP GROUP g c STREAMS K >", "XACK K g 1", "RENAME K L"], &["SET M v"], &[("XACK L g 1", "0"), ("XINFO GROUPS M", "-WRONGTYPE Operation against a key holding the wrong kind of value")]),
    later("SADD ‖ XADD: one winner, the later", &[], &["SADD K x"], &["XADD K 1 f a"], &[("TYPE K", "stream"), ("XRANGE K - +", "[[1-0 [f a]]]")]),
    // TTL
    any("EXPIRE ‖ EXPIRE: the longest life", &["SET K v"], &["EXPIRE K 1000"], &["EXPIRE K 5000"], &[("TTL K", "4900..5000")]),
    any("PERSIST ‖ EXPIRE: no TTL is the longest", &["SET K v EX 900"], &["PERSIST K"], &["EXPIRE K 5000"], &[("TTL K", "-1")]),
    any("SET without TTL ‖ EXPIRE", &["SET K v EX 900"], &["SET K w"], &["EXPIRE K 5000"], &[("GET K", "w"), ("TTL K", "-1")]),
    later("SET EX ‖ SET EX: the later value, the longest life", &[], &["SET K a EX 5000"], &["SET K b EX 1000"], &[("GET K", "b"), ("TTL K", "4900..5000")]),
    any("EXPIRE ‖ INCR on a key with a longer TTL: the longer stays", &["SET K 1 EX 5000"], &["EXPIRE K 1000"], &["INCR K"], &[("GET K", "2"), ("TTL K", "4900..5000")]),
    any("DEL and a new life ‖ EXPIRE of the old: the new keeps its own", &["SET K v"], &["DEL K", "SET K w"], &["EXPIRE K 1000"], &[("GET K", "w"), ("TTL K", "-1")]),
    any("DEL and a new life with a TTL ‖ EXPIRE of the old", &["SET K v EX 50"], &["DEL K", "SET K w EX 1000"], &["EXPIRE K 100"], &[("GET K", "w"), ("TTL K", "900..1000")]),
    any("DEL and a new life with a TTL ‖ a longer EXPIRE of the old: the longest", &["SET K v EX 50"], &["DEL K", "SET K w EX 1000"], &["EXPIRE K 5000"], &[("GET K", "w"), ("TTL K", "4900..5000")]),
    any("DEL ‖ EXPIRE: gone", &["SET K v"], &["DEL K"], &["EXPIRE K 5000"], &[("EXISTS K", "0"), ("TTL K", "-2")]),
    any("EXPIRE into the past ‖ write: the write stands", &["SET K v"], &["EXPIRE K -1"], &["SET K w"], &[("GET K", "w")]),
    later("a key expires ‖ write to it: the write stands", &["SET K v PX 250"], &["until-gone K"], &["SET K w"], &[("GET K", "w"), ("TTL K", "-1")]),
    later("a key expires ‖ a field of a new life", &["HSET K f 1", "PEXPIRE K 250"], &["until-gone K"], &["HSET K g 2"], &[("HGETALL K", "[g 2]"), ("TTL K", "-1")]),
    later("EXPIRE of a set ‖ SADD: the write repeats the TTL it saw", &["SADD K x", "EXPIRE K 5000"], &["EXPIRE K 1000"], &["SADD K y"], &[("SMEMBERS K", "[x y]"), ("TTL K", "4900..5000")]),
    // type
    later("SET ‖ SADD: one winner, the later", &[], &["SET K v"], &["SADD K x"], &[("TYPE K", "set"), ("SMEMBERS K", "[x]"), ("GET K", "-WRONGTYPE Operation against a key holding the wrong kind of value")]),
    later("SADD ‖ HSET ‖ nothing: the later", &[], &["SADD K x"], &["HSET K f v"], &[("TYPE K", "hash"), ("HGETALL K", "[f v]")]),
    later("a type that lost is gone with the next whole write", &[], &["SADD K x"], &["SET K v"], &[("TYPE K", "string"), ("SET K w", "OK"), ("TYPE K", "string"), ("SMEMBERS K", "-WRONGTYPE Operation against a key holding the wrong kind of value")]),
    // key
    any("RENAME ‖ write to the source", &["SET K v"], &["RENAME K L"], &["SET K w"], &[("GET K", "w"), ("GET L", "v")]),
    any("RENAME of a counter ‖ INCR of the source", &["SET K 10"], &["RENAME K L"], &["INCRBY K 5"], &[("GET K", "5"), ("GET L", "10")]),
    any("RENAME of a hash ‖ HSET", &["HSET K f 1"], &["RENAME K L"], &["HSET K g 2"], &[("HGETALL K", "[g 2]"), ("HGETALL L", "[f 1]")]),
    any("COPY ‖ write to the source", &["SET K v"], &["COPY K L"], &["SET K w"], &[("GET K", "w"), ("GET L", "v")]),
    any("COPY ‖ SADD to the source", &["SADD K x"], &["COPY K L"], &["SADD K y"], &[("SMEMBERS K", "[x y]"), ("SMEMBERS L", "[x]")]),
    any("MOVE ‖ write to the source", &["SET K v"], &["MOVE K 15"], &["SET K w"], &[("GET K", "w")]),
    // database
    Row { database: "9", ..any("FLUSHDB ‖ write: the write stands", &["SET K v", "SET L v", "HSET M f 1"], &["FLUSHDB"], &["SET K w", "HSET M g 2"], &[("GET K", "w"), ("GET L", "nil"), ("HGETALL M", "[g 2]"), ("DBSIZE", "2")]) },
];

/// The rows that empty everything.
#[rustfmt::skip]
pub const FLUSHING: &[Row] = &[
    any("FLUSHALL ‖ write: the write stands", &["SET K v", "SADD L x", "SET M 10"], &["FLUSHALL"], &["SET K w", "SADD L y", "INCRBY M 5"], &[("GET K", "w"), ("SMEMBERS L", "[y]"), ("GET M", "5"), ("DBSIZE", "3")]),
    any("FLUSHALL ‖ FLUSHALL", &["SET K v"], &["FLUSHALL"], &["FLUSHALL"], &[("DBSIZE", "0")]),
    Row { database: "3", ..any("FLUSHALL empties every database", &["SET K v"], &["FLUSHALL ASYNC"], &["SET L w"], &[("GET K", "nil"), ("GET L", "w")]) },
];

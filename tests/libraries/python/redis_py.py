"""redis-py, synchronous, with both protocols: every family as an application uses it."""

import threading

import redis
from redis.exceptions import LockError, ResponseError, WatchError

from common import address, same

HOST, PORT = address()


def connect(protocol, **options):
    return redis.Redis(host=HOST, port=PORT, protocol=protocol, decode_responses=True, **options)


def strings_and_counters(r):
    same(r.set("s", "one", ex=100), True, "SET EX")
    same(r.get("s"), "one", "GET")
    same(r.set("s", "two", nx=True), None, "SET NX")
    same(0 < r.ttl("s") <= 100, True, "TTL")
    same(r.getdel("s"), "one", "GETDEL")
    same(r.incrby("n", 41) + r.incr("n"), 83, "INCR")
    same(r.incrbyfloat("f", 0.1), 0.1, "INCRBYFLOAT")
    same(r.mset({"a": 1, "b": 2}), True, "MSET")
    same(r.mget("a", "b", "none"), ["1", "2", None], "MGET")
    same(r.setbit("bits", 7, 1), 0, "SETBIT")
    same(r.bitcount("bits"), 1, "BITCOUNT")
    field = r.bitfield("bits").set("u8", "#1", 200).get("u8", "#1").execute()
    same(field, [0, 200], "BITFIELD")
    try:
        r.lpush("a", "x")
        raise SystemExit("a list command on a string was not refused")
    except ResponseError as error:
        same(str(error), "WRONGTYPE Operation against a key holding the wrong kind of value", "WRONGTYPE")


def collections(r):
    same(r.hset("h", mapping={"x": "1", "y": "2"}), 2, "HSET")
    same(r.hgetall("h"), {"x": "1", "y": "2"}, "HGETALL")
    same(sorted(r.hscan_iter("h")), [("x", "1"), ("y", "2")], "HSCAN")
    same(r.sadd("set", *range(50)), 50, "SADD")
    same(len(list(r.sscan_iter("set"))), 50, "SSCAN")
    same(r.rpush("l", *"abcde"), 5, "RPUSH")
    same(r.lrange("l", 1, -2), ["b", "c", "d"], "LRANGE")
    same(r.lmove("l", "l2", "LEFT", "RIGHT"), "a", "LMOVE")
    same(r.lmpop(2, "none", "l", direction="LEFT", count=2), ["l", ["b", "c"]], "LMPOP")
    same(r.zadd("z", {"one": 1, "two": 2, "three": 3.5}), 3, "ZADD")
    same([tuple(pair) for pair in r.zrange("z", 0, -1, withscores=True)], [("one", 1.0), ("two", 2.0), ("three", 3.5)], "ZRANGE")
    same(r.zrangebyscore("z", "(1", "+inf"), ["two", "three"], "ZRANGEBYSCORE")
    same(r.zscore("z", "three"), 3.5, "ZSCORE")
    same(r.geoadd("geo", (13.361389, 38.115556, "Palermo", 15.087269, 37.502669, "Catania")), 2, "GEOADD")
    same(r.geosearch("geo", longitude=15, latitude=37, radius=100, unit="km"), ["Catania"], "GEOSEARCH")
    same(r.pfadd("hll", *range(100)), 1, "PFADD")
    same(95 <= r.pfcount("hll") <= 105, True, "PFCOUNT")
    same(r.sort("set", desc=True, start=0, num=3), ["49", "48", "47"], "SORT")
    same({r.type(key) for key in r.scan_iter(match="[hlz]*", count=3)} <= {"hash", "list", "zset", "string"}, True, "SCAN")


def streams(r):
    first = r.xadd("stream", {"k": "1"})
    second = r.xadd("stream", {"k": "2"})
    same([entry for entry, _ in r.xrange("stream")], [first, second], "XRANGE")
    same(r.xgroup_create("stream", "g", id="0"), True, "XGROUP CREATE")
    read = r.xreadgroup("g", "c", {"stream": ">"}, count=10)
    entries = read["stream"][0] if isinstance(read, dict) else read[0][1]
    same([entry[0] for entry in entries], [first, second], "XREADGROUP")
    same(r.xack("stream", "g", first), 1, "XACK")
    same(r.xpending("stream", "g")["pending"], 1, "XPENDING")
    claimed = r.xautoclaim("stream", "g", "other", min_idle_time=0)
    same([entry for entry, _ in claimed[1]], [second], "XAUTOCLAIM")
    same(r.xlen("stream"), 2, "XLEN")
    same(r.xinfo_groups("stream")[0]["name"], "g", "XINFO GROUPS")


def transactions(r):
    with r.pipeline() as pipe:
        same(pipe.set("t", 1).incr("t").get("t").execute(), [True, 2, "2"], "MULTI")
    with r.pipeline() as pipe:
        pipe.watch("t")
        r.set("t", "changed")
        pipe.multi()
        pipe.set("t", "lost")
        try:
            pipe.execute()
            raise SystemExit("a transaction whose key had changed was executed")
        except WatchError:
            pass
    same(r.get("t"), "changed", "WATCH")
    same(r.transaction(lambda pipe: (pipe.multi(), pipe.incr("t2")), "t2"), [1], "transaction()")
    with r.pipeline(transaction=False) as pipe:
        for number in range(5000):
            pipe.rpush("timeline", number)
        same(pipe.execute()[-1], 5000, "a pipeline of 5000")


def scripts(r):
    add = r.register_script("return redis.call('INCRBY', KEYS[1], ARGV[1])")
    same(add(keys=["scripted"], args=[5]), 5, "EVALSHA after NOSCRIPT")
    same(add(keys=["scripted"], args=[5]), 10, "EVALSHA")
    r.function_load("#!lua name=lib\nredis.register_function('twice', function(keys, args) return args[1] * 2 end)", replace=True)
    same(r.fcall("twice", 0, 21), 42, "FCALL")
    same(r.function_list()[0]["library_name"] if r.get_connection_kwargs().get("protocol") == 3 else r.function_list()[0][1], "lib", "FUNCTION LIST")
    same(r.function_delete("lib") in (True, "OK"), True, "FUNCTION DELETE")
    try:
        r.eval("return redis.call('nonsense')", 0)
        raise SystemExit("a script called a command that is not there")
    except ResponseError as error:
        same("Unknown Redis command called from script" in str(error), True, f"the error {error}")


def locks(r):
    lock = r.lock("lock", timeout=10)
    same(lock.acquire(), True, "a lock")
    same(r.lock("lock", timeout=10).acquire(blocking=False), False, "a lock that is held")
    same(lock.extend(10), True, "a lock is extended")
    lock.release()
    try:
        lock.release()
        raise SystemExit("a lock was released twice")
    except LockError:
        pass


def publishing(r):
    listener = r.pubsub()
    listener.subscribe("news")
    listener.psubscribe("n?ws")
    same([listener.get_message(timeout=5)["type"] for _ in range(2)], ["subscribe", "psubscribe"], "SUBSCRIBE")
    same(r.publish("news", "hello"), 2, "PUBLISH")
    got = [listener.get_message(timeout=5) for _ in range(2)]
    same(sorted((message["type"], message["data"]) for message in got), [("message", "hello"), ("pmessage", "hello")], "messages")
    same(r.pubsub_numsub("news"), [("news", 1)], "PUBSUB NUMSUB")
    listener.close()


def blocking(r):
    got = []
    waiter = threading.Thread(target=lambda: got.append(connect(2).blpop(["queue"], timeout=10)))
    waiter.start()
    r.rpush("queue", "job")
    waiter.join(10)
    same(got, [("queue", "job")] if isinstance(got[0], tuple) else [["queue", "job"]], "BLPOP")
    same(r.blpop(["queue"], timeout=0.05), None, "BLPOP that ends")


def introspection(r):
    same(r.ping(), True, "PING")
    same("redis_version" in r.info(), True, "INFO")
    same(r.client_setname("me"), True, "CLIENT SETNAME")
    same(r.client_getname(), "me", "CLIENT GETNAME")
    same(any(client["name"] == "me" for client in r.client_list()), True, "CLIENT LIST")
    same(r.config_get("maxmemory-policy")["maxmemory-policy"], "noeviction", "CONFIG GET")
    same("get" in r.command(), True, "COMMAND")
    same(r.memory_usage("timeline") > 1000, True, "MEMORY USAGE")
    same(isinstance(r.slowlog_get(), list), True, "SLOWLOG GET")
    same(r.object("encoding", "n"), "int", "OBJECT ENCODING")


def main():
    for protocol in (2, 3):
        r = connect(protocol, single_connection_client=True)
        r.flushdb()
        for part in (strings_and_counters, collections, streams, transactions, scripts, locks, publishing, blocking, introspection):
            part(r)
    raw = redis.Redis(host=HOST, port=PORT)
    same(raw.restore("z-again", 0, raw.dump("z"), replace=True) in (True, b"OK"), True, "RESTORE")
    same(raw.zcard("z-again"), 3, "what was restored")


main()

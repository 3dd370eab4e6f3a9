// node-redis: both protocols, transactions, iterators, scripts and functions, streams, subscribers, pools, and its cache.
"use strict";
const { createClient, createClientPool, defineScript } = require("redis");
const { host, port, same, run } = require("./common");

const socket = { host, port };
const script = defineScript({
  SCRIPT: "return redis.call('INCRBY', KEYS[1], ARGV[1])",
  NUMBER_OF_KEYS: 1,
  parseCommand(parser, key, by) {
    parser.pushKey(key);
    parser.push(String(by));
  },
  transformReply: undefined,
});

async function all(RESP) {
  const r = await createClient({ socket, RESP, scripts: { addTo: script } }).connect();
  await r.flushDb();
  same(await r.set("s", "one", { expiration: { type: "EX", value: 100 } }), "OK", "SET EX");
  same(await r.get("s"), "one", "GET");
  same({ ...(await r.multi().hSet("h", { x: "1" }).hGetAll("h").exec())[1] }, { x: "1" }, "MULTI");
  same([await r.addTo("n", 5), await r.addTo("n", 5)], [5, 10], "a script");
  same(await r.zAdd("z", [{ value: "one", score: 1 }, { value: "two", score: 2.5 }]), 2, "ZADD");
  same((await r.zRangeWithScores("z", 0, -1)).map(({ value, score }) => [value, score]), [["one", 1], ["two", 2.5]], "ZRANGE");
  await r.sAdd("set", Array.from({ length: 300 }, (_, i) => String(i)));
  let members = 0;
  for await (const some of r.sScanIterator("set")) members += some.length;
  same(members >= 300, true, "SSCAN");
  const id = await r.xAdd("stream", "*", { field: "value" });
  same((await r.xRange("stream", "-", "+")).map((entry) => entry.id), [id], "XRANGE");
  await r.functionLoad("#!lua name=lib\nredis.register_function('twice', function(keys, args) return args[1] * 2 end)", { REPLACE: true });
  same(await r.fCall("twice", { keys: [], arguments: ["21"] }), 42, "FCALL");
  await r.functionDelete("lib");
  const listener = await r.duplicate().connect();
  const message = new Promise((resolve) => listener.subscribe("news", (text) => resolve(text)).then(() => r.publish("news", "hello")));
  same(await message, "hello", "a message");
  const pool = await createClientPool({ socket, RESP }, { minimum: 2, maximum: 4 }).connect();
  same(await Promise.all(Array.from({ length: 100 }, () => pool.incr("pooled"))).then((counts) => Math.max(...counts)), 100, "a pool");
  same(await r.bitField("bits", [{ operation: "SET", encoding: "u8", offset: "#1", value: 200 }]), [0], "BITFIELD");
  await r.watch("watched");
  await pool.set("watched", "changed");
  await r.multi().set("watched", "lost").exec().then(
    () => Promise.reject(new Error("a transaction whose key had changed was executed")),
    (error) => same(error.constructor.name, "WatchError", "WATCH"),
  );
}

async function caching() {
  const cached = await createClient({ socket, RESP: 3, clientSideCache: { ttl: 0, maxEntries: 0, evictPolicy: "LRU" } }).connect();
  const other = await createClient({ socket }).connect();
  await other.set("cached", "one");
  same(await cached.get("cached"), "one", "the first read");
  await other.set("cached", "two");
  const deadline = Date.now() + 10_000;
  while ((await cached.get("cached")) !== "two") {
    if (Date.now() > deadline) throw new Error("a changed key was answered from the cache for ten seconds");
    // What is answered from the cache lets nothing arrive meanwhile.
    await new Promise(setImmediate);
  }
}

run(async () => {
  await all(2);
  await all(3);
  await caching();
});

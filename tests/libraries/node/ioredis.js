// ioredis: pipelines, transactions, scripts as commands, streams, scans, subscribers, blocking pops, automatic pipelining.
"use strict";
const Redis = require("ioredis");
const { host, port, same, run } = require("./common");

run(async () => {
  const r = new Redis(port, host);
  const other = new Redis(port, host, { enableAutoPipelining: true });
  await r.flushdb();
  same(await r.set("s", "one", "EX", 100, "NX"), "OK", "SET EX NX");
  same(await r.set("s", "two", "NX"), null, "SET NX of a key that is there");
  same(await r.getBuffer("s"), Buffer.from("one"), "bytes");
  same(await r.pipeline().incr("n").incr("n").lpush("n", "x").exec().then((rows) => rows.map(([error, value]) => (error ? error.message : value))), [
    1, 2, "WRONGTYPE Operation against a key holding the wrong kind of value",
  ], "a pipeline with an error in it");
  same(await r.multi().hset("h", { x: 1, y: 2 }).hgetall("h").exec(), [[null, 2], [null, { x: "1", y: "2" }]], "MULTI");
  r.defineCommand("addTo", { numberOfKeys: 1, lua: "return redis.call('INCRBY', KEYS[1], ARGV[1]) + 0" });
  same([await r.addTo("n", 5), await r.addTo("n", 5)], [7, 12], "a script as a command");
  same(await Promise.all(Array.from({ length: 500 }, (_, i) => other.set(`auto:${i}`, i))).then((all) => new Set(all).size), 1, "automatic pipelining");
  same(await other.get("auto:499"), "499", "what it wrote");
  const seen = new Set();
  for await (const keys of r.scanStream({ match: "auto:*", count: 50 })) keys.forEach((key) => seen.add(key));
  same(seen.size, 500, "a scan");
  const id = await r.xadd("stream", "*", "field", "value");
  await r.xgroup("CREATE", "stream", "group", "0");
  same(await r.xreadgroup("GROUP", "group", "me", "COUNT", 10, "STREAMS", "stream", ">"), [["stream", [[id, ["field", "value"]]]]], "XREADGROUP");
  same(await r.xack("stream", "group", id), 1, "XACK");
  const waiting = new Redis(port, host);
  const popped = waiting.blpop("queue", 10);
  await r.rpush("queue", "job");
  same(await popped, ["queue", "job"], "BLPOP");
  const listener = new Redis(port, host);
  const message = new Promise((resolve) => listener.on("pmessage", (...all) => resolve(all)));
  await listener.psubscribe("news:*");
  same(await r.publish("news:1", "hello"), 1, "PUBLISH");
  same(await message, ["news:*", "news:1", "hello"], "a message");
  await r.watch("watched");
  await other.set("watched", "changed");
  same(await r.multi().set("watched", "lost").exec(), null, "WATCH");
  same(await r.zadd("z", 1, "one", 2, "two"), 2, "ZADD");
  same(await r.zrangebyscore("z", "(1", "+inf", "WITHSCORES"), ["two", "2"], "ZRANGEBYSCORE");
  const monitoring = await new Redis(port, host).monitor();
  const line = new Promise((resolve) => monitoring.on("monitor", (_, words) => words[1] === "monitored" && resolve(words)));
  await r.get("monitored");
  same(await line, ["get", "monitored"], "MONITOR");
});

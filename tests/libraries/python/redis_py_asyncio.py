"""redis-py with asyncio: many tasks on one pool, pub/sub, blocking pops, transactions and scripts."""

import asyncio

import redis.asyncio as redis

from common import address, same

HOST, PORT = address()


async def counting(r):
    async def add():
        for _ in range(100):
            await r.incr("async:n")

    await asyncio.gather(*(add() for _ in range(20)))
    same(await r.get("async:n"), "2000", "increments of many tasks")


async def publishing(r):
    async with r.pubsub() as listener:
        await listener.subscribe("async:news")
        same((await listener.get_message(timeout=5))["type"], "subscribe", "SUBSCRIBE")
        await r.publish("async:news", "hello")
        same((await listener.get_message(timeout=5))["data"], "hello", "a message")
        await listener.unsubscribe()


async def queueing(r):
    async def work():
        done = []
        while (job := await r.blpop(["async:queue"], timeout=10))[1] != "stop":
            done.append(job[1])
        return done

    workers = [asyncio.create_task(work()) for _ in range(4)]
    await r.rpush("async:queue", *range(100))
    await r.rpush("async:queue", *["stop"] * 4)
    jobs = sorted(int(job) for done in await asyncio.gather(*workers) for job in done)
    same(jobs, list(range(100)), "each job is done once")


async def transacting(r):
    async with r.pipeline(transaction=True) as pipe:
        same(await pipe.hset("async:h", "f", 1).hincrby("async:h", "f", 4).execute(), [1, 5], "MULTI")
    script = r.register_script("return redis.call('HGET', KEYS[1], 'f')")
    same(await script(keys=["async:h"]), "5", "EVALSHA")
    same([entry async for entry in r.scan_iter(match="async:h")], ["async:h"], "SCAN")


async def main():
    for protocol in (2, 3):
        r = redis.Redis(host=HOST, port=PORT, protocol=protocol, decode_responses=True)
        await r.flushdb()
        for part in (counting, publishing, queueing, transacting):
            await part(r)
        await r.aclose()


asyncio.run(main())

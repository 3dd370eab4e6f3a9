"""redis-py over TLS: certificates of both sides are looked at, and everything else is as without it."""

import asyncio
import sys

import redis
import redis.asyncio

from common import address, same

host, port = address()
authority, certificate, key, stranger = sys.argv[2:6]
ours = {"ssl_certfile": certificate, "ssl_keyfile": key}
common = {"host": host, "port": port, "ssl": True, "decode_responses": True, "ssl_ca_certs": authority}

for protocol in (2, 3):
    r = redis.Redis(**common, **ours, ssl_check_hostname=True, protocol=protocol)
    same(r.set("k", "v" * 100_000), True, "a long value is written")
    same(r.get("k"), "v" * 100_000, "and read")
    with r.pipeline() as pipeline:
        for number in range(1000):
            pipeline.rpush("list", number)
        same(len(pipeline.execute()), 1000, "a pipeline is answered")
    messages = r.pubsub(ignore_subscribe_messages=True)
    messages.subscribe("news")
    messages.get_message(timeout=5)
    r.publish("news", "hello")
    same(messages.get_message(timeout=5)["data"], "hello", "a message comes")
    r.flushdb()


async def waits():
    """Somebody waits on one connection for what another one brings."""
    r = redis.asyncio.Redis(**common, **ours)
    waiting = asyncio.create_task(r.blpop("queue", timeout=5))
    await r.rpush("queue", "job")
    same(list(await waiting), ["queue", "job"], "a job comes")
    await r.aclose()


asyncio.run(waits())

for wrong, what in (
    ({}, "a client without a certificate"),
    ({**ours, "ssl_ca_certs": stranger}, "a client that believes another authority"),
):
    try:
        redis.Redis(**{**common, **wrong}).ping()
        raise SystemExit(f"{what} got in")
    except redis.exceptions.ConnectionError:
        pass

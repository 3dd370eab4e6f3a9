"""redis-py's client-side cache: what another client writes is not answered from the cache any more."""

import time

import redis
from redis.cache import CacheConfig

from common import address, same

HOST, PORT = address()

cached = redis.Redis(host=HOST, port=PORT, protocol=3, decode_responses=True, cache_config=CacheConfig())
other = redis.Redis(host=HOST, port=PORT)
other.flushdb()
other.set("cached", "one")
same(cached.get("cached"), "one", "the first read")
same(cached.get("cached"), "one", "a read from the cache")
same(cached.get_cache().size, 1, "entries of the cache")
other.set("cached", "two")
deadline = time.monotonic() + 10
while cached.get("cached") != "two":
    if time.monotonic() > deadline:
        raise SystemExit("a changed key was answered from the cache for ten seconds")
other.flushdb()
while cached.get("cached") is not None:
    if time.monotonic() > deadline:
        raise SystemExit("a key that was flushed was answered from the cache")

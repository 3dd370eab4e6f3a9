"""Pottery's Redlock with the one node of a region, and its containers that are built on scripts."""

import redis
from pottery import NextID, ReleaseUnlockedLock, Redlock

from common import same, url

r = redis.Redis.from_url(url())
r.flushdb()
lock = Redlock(key="redlock", masters={r}, auto_release_time=10)
same(lock.acquire(), True, "the lock is taken")
same(Redlock(key="redlock", masters={r}).acquire(blocking=False), False, "a lock that another holds")
same(lock.locked() > 5, True, "how long it is still held")
lock.extend()
lock.release()
try:
    lock.release()
    raise SystemExit("a lock was released twice")
except ReleaseUnlockedLock:
    pass
same(Redlock(key="redlock", masters={r}).acquire(blocking=False), True, "the lock is free again")
ids = NextID(key="ids", masters={r})
same([next(ids) for _ in range(3)], [1, 2, 3], "numbers that are given out")

"""limits: all its strategies, each with its own scripts."""

from limits import RateLimitItemPerMinute
from limits.storage import storage_from_string
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter

from common import same, url

storage = storage_from_string(url())
storage.reset()
five = RateLimitItemPerMinute(5)
for strategy in (FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter):
    limiter = strategy(storage)
    who = strategy.__name__
    # A window of the clock may end between two hits: then those of the next one are let through too.
    hits = [limiter.hit(five, who) for _ in range(12)]
    same(hits[:5], [True] * 5, f"{who}: the first five")
    same(sum(hits) in (5, 10) or strategy is SlidingWindowCounterRateLimiter, True, f"{who}: {hits}")
    same(False in hits, True, f"{who}: somebody is refused")
    same(limiter.get_window_stats(five, who).remaining <= 4, True, f"{who}: what is left")
    limiter.clear(five, who)
    same(limiter.test(five, who), True, f"{who}: after it was cleared")
same(storage.check(), True, "the storage answers")

"""Writes through Sentinel until its input ends, and says which node it writes to whenever that changes."""

import sys
import threading

import redis
from redis.sentinel import Sentinel

sentinels = [(host, int(port)) for host, port in (address.rsplit(":", 1) for address in sys.argv[1:])]
sentinel = Sentinel(sentinels, socket_timeout=2.0)
# The region's own name: whoever answers, it stands for that region while it serves.
client = sentinel.master_for("us-east", socket_timeout=2.0)

over = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()

place, written = None, 0
while not over.wait(0.002):
    try:
        client.incr("written")
        written += 1
        at = client.client_info()["laddr"]
    except redis.RedisError:
        continue
    if at != place:
        place = at
        print(f"at {place}", flush=True)
print(f"written {written}", flush=True)

"""A reliable queue by LMOVE: a job is in a worker's own list until it is done, and comes back if the worker dies."""

import threading

import redis

from common import address, same

HOST, PORT = address()
JOBS = 200
r = redis.Redis(host=HOST, port=PORT, decode_responses=True)
r.flushdb()


def work(name, dies_after=None):
    mine = redis.Redis(host=HOST, port=PORT, decode_responses=True)
    taken = 0
    while (job := mine.blmove("queue", f"working:{name}", 10, "LEFT", "RIGHT")) != "stop":
        taken += 1
        if dies_after == taken:
            return
        with mine.pipeline() as pipe:
            pipe.sadd("done", job)
            pipe.hincrby("times", job, 1)
            pipe.lrem(f"working:{name}", 1, job)
            pipe.execute()
    mine.lrem(f"working:{name}", 1, "stop")


r.rpush("queue", *range(JOBS))
work("mortal", dies_after=7)
same(r.llen("working:mortal"), 1, "jobs that a dead worker leaves")
while r.lmove("working:mortal", "queue", "RIGHT", "LEFT"):
    pass
workers = [threading.Thread(target=work, args=(number,)) for number in range(4)]
for worker in workers:
    worker.start()
r.rpush("queue", *["stop"] * 4)
for worker in workers:
    worker.join(30)
same(r.scard("done"), JOBS, "jobs that are done")
same(set(r.hvals("times")), {"1"}, "how often each was done")
same([key for key in r.scan_iter(match="working:*")], [], "lists that are left")

"""RQ: jobs that succeed, fail, depend on others and are repeated, worked off by its own worker."""

import redis
from rq import Queue, Retry, SimpleWorker
from rq.job import Job

from common import address, same

HOST, PORT = address()


def add(one, other):
    return one + other


def fail():
    raise ValueError("as it was told")


# Jobs name what they call by its module, and the worker lives in this process.
import rq_queue  # noqa: E402


def main():
    r = redis.Redis(host=HOST, port=PORT)
    r.flushdb()
    queue = Queue(connection=r)
    jobs = [queue.enqueue(rq_queue.add, number, 1) for number in range(50)]
    last = queue.enqueue(rq_queue.add, 1, 1, depends_on=jobs[-1])
    failing = queue.enqueue(rq_queue.fail, retry=Retry(max=2))
    same(queue.count, 51, "jobs that wait")
    SimpleWorker([queue], connection=r).work(burst=True, with_scheduler=False, logging_level="ERROR")
    same([job.return_value() for job in jobs], list(range(1, 51)), "results")
    same(last.return_value(), 2, "the result of what depended on another")
    same(str(failing.get_status(refresh=True).value), "failed", "what was to fail")
    same(queue.failed_job_registry.get_job_ids(), [failing.id], "jobs that failed")
    same(len(Job.fetch_many([job.id for job in jobs], connection=r)), 50, "jobs that are fetched")
    same(queue.count, 0, "jobs that are left")


if __name__ == "__main__":
    main()

"""Celery with this broker and result store: tasks, groups and chords, worked off by a worker in this process."""

from celery import Celery, chord, group
from celery.contrib.testing.worker import start_worker

from common import same, url

import redis

redis.Redis.from_url(url(1)).flushdb()
app = Celery("tasks", broker=url(1), backend=url(1))
app.conf.update(worker_hijack_root_logger=False, broker_connection_retry_on_startup=True)


@app.task
def add(one, other):
    return one + other


@app.task
def total(numbers):
    return sum(numbers)


@app.task(bind=True, max_retries=3)
def again(self):
    if self.request.retries < 2:
        raise self.retry(countdown=0)
    return self.request.retries


with start_worker(app, pool="threads", concurrency=4, perform_ping_check=False, loglevel="ERROR", shutdown_timeout=30):
    same(add.delay(2, 3).get(timeout=30), 5, "a task")
    same(group(add.s(number, 1) for number in range(20))().get(timeout=30), list(range(1, 21)), "a group")
    same(chord([add.s(number, 1) for number in range(20)])(total.s()).get(timeout=30), 210, "a chord")
    same(again.delay().get(timeout=30), 2, "a task that is repeated")

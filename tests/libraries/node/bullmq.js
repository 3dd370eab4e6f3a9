// BullMQ: jobs, delays, priorities, retries, repeats, flows, rates, events and two workers on one queue.
"use strict";
const { Queue, Worker, QueueEvents, FlowProducer } = require("bullmq");
const { host, port, same, run } = require("./common");

const connection = { host, port, maxRetriesPerRequest: null };

// Each job that is waited for listens to its queue.
require("node:events").defaultMaxListeners = 0;

run(async () => {
  const queue = new Queue("work", { connection });
  await queue.obliterate({ force: true });
  const events = new QueueEvents("work", { connection });
  await events.waitUntilReady();
  const done = [];
  const handle = async (job) => {
    if (job.name === "fails once" && job.attemptsMade === 0) throw new Error("as it was told");
    await job.updateProgress(50);
    done.push(job.name);
    return { sum: (job.data.one ?? 0) + (job.data.other ?? 0) };
  };
  const jobs = await queue.addBulk(Array.from({ length: 100 }, (_, i) => ({ name: "add", data: { one: i, other: 1 } })));
  jobs.push(await queue.add("later", { one: 1, other: 2 }, { delay: 200 }));
  jobs.push(await queue.add("fails once", {}, { attempts: 3, backoff: { type: "fixed", delay: 50 } }));
  const workers = [1, 2].map(() => new Worker("work", handle, { connection, concurrency: 5 }));
  const results = await Promise.all(jobs.map((job) => job.waitUntilFinished(events, 60_000)));
  same(results.slice(0, 100).map((result) => result.sum), Array.from({ length: 100 }, (_, i) => i + 1), "results");
  same(results[100].sum, 3, "the result of a job that came later");
  same(done.length, 102, "jobs that were done");
  same((await queue.getJobCounts("completed", "failed", "waiting")), { completed: 102, failed: 0, waiting: 0 }, "counts");
  const flow = await new FlowProducer({ connection }).add({
    name: "parent", queueName: "work", data: { one: 20, other: 1 },
    children: [1, 2, 3].map((one) => ({ name: "child", queueName: "work", data: { one, other: 1 } })),
  });
  same(await flow.job.waitUntilFinished(events, 60_000), { sum: 21 }, "a flow's parent");
  same(Object.keys((await flow.job.getChildrenValues())).length, 3, "a flow's children");
  await queue.upsertJobScheduler("ticks", { every: 100 }, { name: "tick" });
  const ticked = new Promise((resolve) => workers.forEach((worker) => worker.on("completed", (job) => job.name === "tick" && resolve(true))));
  same(await ticked, true, "a job that repeats");
  await queue.removeJobScheduler("ticks");
  await Promise.all(workers.map((worker) => worker.close()));
  await priorities();
});

// One after the other, the most urgent first, whenever they came.
async function priorities() {
  const queue = new Queue("ordered", { connection });
  await queue.obliterate({ force: true });
  for (const priority of [9, 1, 5]) await queue.add(`priority ${priority}`, {}, { priority });
  const order = [];
  const worker = new Worker("ordered", async (job) => order.push(job.name), { connection });
  await new Promise((resolve) => worker.on("drained", resolve));
  same(order, ["priority 1", "priority 5", "priority 9"], "the most urgent first");
  await worker.close();
}

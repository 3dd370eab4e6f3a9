// Writes through Sentinel until its input ends, and says which node it writes to whenever that changes.
"use strict";
const Redis = require("ioredis");

const sentinels = process.argv.slice(2).map((address) => {
  const colon = address.lastIndexOf(":");
  return { host: address.slice(0, colon), port: Number(address.slice(colon + 1)) };
});
const client = new Redis({ sentinels, name: "us-east", sentinelRetryStrategy: () => 100, connectTimeout: 2000 });
// What breaks is tried again.
client.on("error", () => {});

let over = false;
process.stdin.on("end", () => (over = true)).resume();

async function main() {
  let place = null;
  let written = 0;
  while (!over) {
    try {
      await client.incr("written");
      written += 1;
      const at = /laddr=(\S+)/.exec(await client.client("INFO"))[1];
      if (at !== place) {
        place = at;
        console.log(`at ${place}`);
      }
    } catch {
      // The next one goes to wherever the region's name stands for.
    }
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  console.log(`written ${written}`);
  process.exit(0);
}

main();

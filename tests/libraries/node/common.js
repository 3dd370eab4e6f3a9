// What the scripts share: the address to use, a check that says what was expected, and an end in any case.
"use strict";
const assert = require("node:assert/strict");

const colon = process.argv[2].lastIndexOf(":");
const host = process.argv[2].slice(0, colon);
const port = Number(process.argv[2].slice(colon + 1));

function same(found, expected, what) {
  assert.deepEqual(found, expected, what);
}

// Runs the script's main function and ends the process whatever connections it left.
function run(main) {
  main().then(
    () => process.exit(0),
    (error) => {
      console.error(error);
      process.exit(1);
    },
  );
}

module.exports = { host, port, same, run };

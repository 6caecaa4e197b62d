// Answers calls of the explorer's functions: [[module, name, args], ...] on
// stdin, [{value} or {error}, ...] on stdout; [module] asks for its data.
// BigInts leave as strings.
"use strict";
const fs = require("node:fs");
const path = require("node:path");

const folder = path.join(__dirname, "../../../book/_static/explorer");
const files = [
  "arithmetic", "branches", "presets", "state", "drawing", "output", "words",
  "section", "curves", "template", "player",
];
for (const file of files) require(path.join(folder, `${file}.js`));
const book = globalThis.atrousExplorer;

function answer([module, name, args]) {
  if (!name) return { value: book[module] };
  try {
    return { value: book[module][name](...args) };
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    return { error: error.message };
  }
}

const plain = (key, value) => {
  if (typeof value === "bigint") return `${value}`;
  return value instanceof Map ? [...value] : value;
};
const calls = JSON.parse(fs.readFileSync(0, "utf8"));
process.stdout.write(JSON.stringify(calls.map(answer), plain));

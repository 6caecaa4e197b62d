// A state of the explorer as a picture, for readers without scripts:
// node still.js STATE NAME prints {svg, words} as JSON; NAME begins the ids in
// it. A state that the explorer does not understand ends it with what is wrong.
"use strict";
const path = require("node:path");

const folder = path.join(__dirname, "../../book/_static/explorer");
const files = ["arithmetic", "presets", "state", "drawing", "words"];
for (const file of files) require(path.join(folder, `${file}.js`));
const { state, drawing, words } = globalThis.atrousExplorer;

const MAP = 460;
const WIDTH = 640;
const placed = (svg, x, y, width, height) =>
  svg.replace("<svg ", `<svg x="${x}" y="${y}" width="${width}" ` +
    `height="${height}" `);

function still(text, name) {
  const { state: found, problems } = state.parse(text);
  const side = state.outputSide(found);
  if (!side) problems.push("There is no output to draw.");
  if (problems.length) throw new Error(`${text}: ${problems.join(" ")}`);
  const middle = (side - 1) >> 1;
  const shown = { ...found, at: found.at ?? [middle, middle] };
  const map = drawing.map(shown, {
    width: MAP,
    modulus: words.modulus(shown),
    prefix: name,
  });
  const section = drawing.section(shown, { width: WIDTH });
  const tall = Number(/viewBox="0 0 \d+ (\d+)"/.exec(section)[1]);
  const facts = Object.values(words.facts(shown));
  return {
    svg:
      '<svg xmlns="http://www.w3.org/2000/svg" ' +
      `viewBox="0 0 ${WIDTH} ${MAP + 20 + tall}">` +
      placed(map, (WIDTH - MAP) / 2, 5, MAP, MAP) +
      `${placed(section, 0, MAP + 15, WIDTH, tall)}</svg>`,
    words:
      `A map of ${shown.size} by ${shown.size} pixels, and below it ` +
      `${shown.layers.length} layers from the side. ` +
      `${facts.map((fact) => fact.join(": ")).join(". ")}.`,
  };
}

try {
  process.stdout.write(JSON.stringify(still(...process.argv.slice(2))));
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}

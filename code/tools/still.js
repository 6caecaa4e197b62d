// A state of the explorer as a picture, for readers without scripts:
// node still.js STATE "PART ..." NAME prints {svg, words} as JSON; NAME begins
// the ids in it. A state that the explorer does not understand ends it with
// what is wrong.
"use strict";
const path = require("node:path");

const folder = path.join(__dirname, "../../book/_static/explorer");
const files = [
  "arithmetic", "branches", "state", "drawing", "words", "section", "curves",
];
for (const file of files) require(path.join(folder, `${file}.js`));
const book = globalThis.atrousExplorer;
const { state, words } = book;

const WIDTH = 640;
const MAP = 460; // a square
const GAP = 12;

// Pictures one below the other, each in its width.
function piled(pictures) {
  let top = 0;
  const placed = pictures.map(([svg, width]) => {
    const [, , wide, high] = /viewBox="([^"]*)"/.exec(svg)[1].split(" ");
    const height = (width * high) / wide;
    const y = top;
    top += height + GAP;
    return svg.replace("<svg ", `<svg x="${(WIDTH - width) / 2}" y="${y}" ` +
      `width="${width}" height="${height}" `);
  });
  return '<svg xmlns="http://www.w3.org/2000/svg" ' +
    `viewBox="0 0 ${WIDTH} ${top - GAP}">${placed.join("")}</svg>`;
}

function still(text, parts, prefix) {
  const { state: found, problems } = state.parse(text);
  if (!state.outputSide(found)) problems.push("There is no output to draw.");
  if (problems.length) throw new Error(`${text}: ${problems.join(" ")}`);
  const shown = state.chosen(found);
  const { axes, branches, size } = shown;
  const draw = {
    map: () => [book.drawing.map(shown, {
      width: MAP, modulus: words.modulus(shown), prefix,
    }), MAP],
    section: () => [book.section.section(shown, { width: WIDTH }), WIDTH],
    valid: () => [book.curves.validPlot(
      state.layersOf(shown)[shown.layer - 1], shown.map,
      { width: WIDTH, axes },
    ), WIDTH],
  };
  const asked = Object.keys(draw).filter((part) => parts.includes(part));
  if (!asked.length) throw new Error(`${parts}: nothing of it is a picture`);
  const said = {
    map: () => (axes === 1 ? `A sequence of ${size} positions. `
      : `A map of ${size} by ${size} pixels. `) +
      Object.values(words.facts(shown)).map((fact) => fact.join(": "))
        .join(". ") + ".",
    section: () => (branches.length > 1
      ? `${branches.length} branches from the side.`
      : `${branches[0].length} layers from the side.`),
    valid: () => words.valid(shown),
  };
  return {
    svg: piled(asked.map((part) => draw[part]())),
    words: asked.map((part) => said[part]()).join(" "),
  };
}

try {
  process.stdout.write(JSON.stringify(still(...process.argv.slice(2))));
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
}

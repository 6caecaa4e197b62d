// The explorer's first picture, for readers without scripts:
// node code/tools/still.js > book/_static/explorer/still.svg
"use strict";
const fs = require("node:fs");
const path = require("node:path");

const folder = path.join(__dirname, "../../book/_static/explorer");
const files = ["arithmetic", "presets", "state", "drawing", "words"];
for (const file of files) require(path.join(folder, `${file}.js`));
const { state, drawing, words } = globalThis.atrousExplorer;

const shown = { ...state.START, at: [16, 16] };
const css = fs.readFileSync(path.join(folder, "picture.css"), "utf8");
const [map, section] = [
  drawing.map(shown, { width: 460, modulus: words.modulus(shown) }),
  drawing.section(shown, { width: 640 }),
];
const placed = (svg, x, y, width, height) =>
  svg.replace("<svg ", `<svg x="${x}" y="${y}" width="${width}" ` +
    `height="${height}" `);
const tall = Number(/viewBox="0 0 \d+ (\d+)"/.exec(section)[1]);
process.stdout.write(
  '<svg xmlns="http://www.w3.org/2000/svg" ' +
    `viewBox="0 0 640 ${480 + tall}">\n` +
    `<style>${css.replace(/display:[^;]*; width:[^;]*; height:[^;]*;/, "")}` +
    '</style>\n<rect width="640" height="100%" fill="#fff"/>\n' +
    `${placed(map, 90, 5, 460, 460)}\n` +
    `${placed(section, 0, 475, 640, tall)}\n</svg>\n`,
);

// The output from above, which is filled as it is played.
(function (book) {
  "use strict";
  const { field, outputSize } = book.branches;
  const { ROW, tag, path, box, picture, place, phaseClass } = book.drawing;

  const MOST_TILES = 16; // phases along an axis whose colours can be told

  // Cells of a picture from one to another in reading order, both included.
  function between([top, left], [bottom, right], wide) {
    if (top === bottom) return box(left, top, right - left + 1, 1);
    return box(left, top, wide - left, 1) +
      (bottom - top > 1 ? box(0, top + 1, wide, bottom - top - 1) : "") +
      box(0, bottom, right + 1, 1);
  }

  // The output. `from` is where playing began, if it has: the outputs from
  // there on to the chosen one are filled, by phase each in the colour of
  // the phase that it reads.
  function output(state, { width, modulus, from, prefix = "" }) {
    const side = outputSize(state.size, state.branches);
    const rows = state.axes === 1 ? 1 : side;
    const [cell, tall] = [width / side, ROW * (side / width)];
    const pair = (at) => (at.length === 1 ? [0, ...at] : at);
    const { first } = place(state, 0);
    const { jump } = field(state.branches);
    const phased = from && state.show === "phases" && !state.phase &&
      modulus > 1 && modulus <= MOST_TILES;
    const made = from ? between(pair(from), pair(state.at), side) : "";
    const phase = (i) =>
      (((first + i * jump) % modulus) + modulus) % modulus;
    const many = Math.min(modulus, side); // then the colours come again
    let tiles = "";
    for (let y = 0; phased && y < Math.min(many, rows); y++) {
      for (let x = 0; x < many; x++) {
        const kind = phaseClass(rows === 1 ? 0 : phase(y), phase(x), modulus);
        tiles += path(`full ${kind}`, box(x, y, 1));
      }
    }
    const tile = `${prefix}tile`;
    const lines = [];
    for (let i = 1; i < side && cell >= 4; i++) {
      lines.push(`M${i} 0v${rows}`, i < rows ? `M0 ${i}h${side}` : "");
    }
    const [y, x] = pair(state.at);
    const drawn = [
      tiles && tag("defs", {}, tag("pattern", {
        id: tile,
        width: many,
        height: many,
        patternUnits: "userSpaceOnUse",
      }, tiles)),
      path("paper", box(0, 0, side, rows)),
      tiles ? tag("path", { d: made, fill: `url(#${tile})` })
        : path("made", made),
      path("rule", lines.join("")),
      path("border", box(0, 0, side, rows)),
      path("halo-thin", box(x, y, 1)),
      path("field", box(x, y, 1)),
    ].join("");
    const edge = 3 / cell; // half the frame of a cell at the border
    const high = state.axes === 1 ? tall : side;
    return picture(-edge, -edge, side + 2 * edge, high + 2 * edge,
      state.axes === 1
        ? tag("g", { transform: `scale(1 ${tall})` }, drawn) : drawn);
  }

  book.output = { between, output };
})((globalThis.atrousExplorer ??= {}));

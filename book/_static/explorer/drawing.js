// The input from above, as text in SVG. Colours are classes of picture.css. A
// sequence is one row.
(function (book) {
  "use strict";
  const { trace } = book.arithmetic;
  const { field, outputSize } = book.branches;

  const SHADE_LEVELS = 8;
  const PHASE_COLOURS = 9;
  const LEGIBLE = 20; // pixels of a cell that has room for a number
  const MOST_SIGNS = 300; // of a branch, each drawn by itself
  const ROW = 30; // pixels of the height of a sequence
  const ALONE = [new Map([[0, 1n]])]; // the row that a sequence has

  const tag = (name, attributes, content = "") =>
    `<${name}${Object.entries(attributes)
      .map(([key, value]) => ` ${key}="${value}"`)
      .join("")}>${content}</${name}>`;

  const path = (kind, d) => (d ? tag("path", { class: kind, d }) : "");
  const box = (x, y, w, h = w) => `M${x} ${y}h${w}v${h}h${-w}z`;
  const text = (kind, x, y, words, more = {}) =>
    tag("text", { class: kind, x, y, ...more }, words);
  const picture = (x, y, wide, high, content) => tag("svg", {
    xmlns: "http://www.w3.org/2000/svg",
    class: "picture",
    viewBox: `${x} ${y} ${wide} ${high}`,
    "aria-hidden": "true",
  }, content);

  // What a map shows: all pixels, and as many beyond as the first and last
  // fields reach, but not so many that the map becomes small.
  function view({ branches, size }) {
    const all = field(branches);
    const first = all.start - (all.size - 1) / 2;
    const outputs = outputSize(size, branches);
    const last = first + (outputs - 1) * all.jump + all.size;
    const most = Math.ceil(size / 10);
    return {
      low: -Math.min(most, Math.max(0, -first)),
      high: size + Math.min(most, Math.max(0, last - size)),
    };
  }

  // First pixel of the field of an output, and where the output stands.
  function place(state, index, branches = state.branches) {
    const all = field(branches);
    const centre = all.start + index * all.jump;
    const stand = centre + book.state.behind(state, all);
    return { first: centre - (all.size - 1) / 2, stand, size: all.size };
  }

  // What one output reads: `rows` and `columns` hold a Map a branch of the
  // number of paths, and `levels` its Maps along the row, the input's first.
  function look(state) {
    const { branches, size, at, axes } = state;
    const along = (index) =>
      branches.map((stack) => trace(size, stack, index));
    const levels = along(at.at(-1));
    const up = axes === 1 ? branches.map(() => ALONE) : along(at[0]);
    const [rows, columns] = [up, levels].map((all) => all.map(([one]) => one));
    return {
      rows,
      columns,
      levels,
      row: axes === 1 ? { first: 0, stand: 0, size: 1 }
        : place(state, at[0]),
      column: place(state, at.at(-1)),
      ...view(state),
    };
  }

  // Whether any branch reads a pixel, and by how many paths all of them do.
  const reads = ({ rows, columns }, y, x) =>
    rows.some((paths, i) => paths.has(y) && columns[i].has(x));
  const paths = ({ rows, columns }, y, x) => rows.reduce((sum, ways, i) =>
    sum + (ways.get(y) ?? 0n) * (columns[i].get(x) ?? 0n), 0n);

  const union = (lines) =>
    [...new Set(lines.flatMap((one) => [...one.keys()]))]
      .sort((a, b) => a - b);

  // The most paths from one pixel.
  function greatest(seen) {
    const most = (line) =>
      [...line.values()].reduce((a, b) => (a > b ? a : b), 0n);
    const { rows, columns } = seen;
    if (rows.length === 1) return most(rows[0]) * most(columns[0]);
    let found = 0n;
    for (const y of union(rows)) {
      for (const x of union(columns)) {
        const ways = paths(seen, y, x);
        if (ways > found) found = ways;
      }
    }
    return found;
  }

  // Reached pixels by shade: a path of runs for each level of darkness.
  function shades(seen) {
    const most = Number(greatest(seen));
    const levels = new Array(SHADE_LEVELS).fill("");
    const across = union(seen.columns);
    const rows = seen.rows.map((line) =>
      new Map([...line].map(([y, ways]) => [y, Number(ways)])));
    const columns = seen.columns.map((line) =>
      new Map([...line].map(([x, ways]) => [x, Number(ways)])));
    for (const y of union(rows)) {
      let run = null;
      for (const x of [...across, NaN]) {
        const sum = rows.reduce((before, line, i) =>
          before + (line.get(y) ?? 0) * (columns[i].get(x) ?? 0), 0);
        const level = Math.ceil((sum / most) * SHADE_LEVELS) - 1;
        if (run && (x !== run.x + run.length || level !== run.level)) {
          levels[run.level] += box(run.x, y, run.length, 1);
          run = null;
        }
        if (run) run.length += 1;
        else if (level >= 0) run = { x, length: 1, level };
      }
    }
    return levels.map((d, i) => path(`shade-${i}`, d)).join("");
  }

  // Pixels of the field, on the map, that no path of this output reaches.
  function missed(seen, { size, axes }) {
    const inside = ({ first, size: n }, side) =>
      [Math.max(0, first), Math.min(side, first + n)];
    const [top, bottom] = inside(seen.row, axes === 1 ? 1 : size);
    const [left, right] = inside(seen.column, size);
    let d = "";
    for (let y = top; y < bottom; y++) {
      let x = left;
      for (let end = left; end <= right; end++) {
        if (end < right && !reads(seen, y, end)) continue;
        if (end > x) d += box(x, y, end - x, 1);
        x = end + 1;
      }
    }
    return d;
  }

  const phaseOf = (y, x, modulus) => (y % modulus) * modulus + (x % modulus);
  const phaseClass = (y, x, modulus) =>
    `phase-${phaseOf(y, x, modulus) % PHASE_COLOURS}`;

  const eachPixel = ({ size, axes }, act) => {
    for (let y = 0; y < (axes === 1 ? 1 : size); y++) {
      for (let x = 0; x < size; x++) act(y, x);
    }
  };

  function phases(seen, state, modulus) {
    const [pale, full] = [0, 0].map(() => new Array(PHASE_COLOURS).fill(""));
    let dots = "";
    eachPixel(state, (y, x) => {
      const colour = phaseOf(y, x, modulus) % PHASE_COLOURS;
      const hit = reads(seen, y, x);
      (hit ? full : pale)[colour] += box(x, y, 1);
      if (hit) dots += box(x + 0.3, y + 0.3, 0.4);
    });
    const coloured = (kind) => (d, i) => path(`${kind} phase-${i}`, d);
    return (
      pale.map(coloured("pale")).join("") +
      full.map(coloured("full")).join("") +
      path("dot", dots)
    );
  }

  function numbers(seen, state, modulus, tall) {
    let found = "";
    const put = (kind, y, x, words) => {
      found += text(kind, x + 0.5, (y + 0.5) * tall, words);
    };
    if (state.show === "phases") {
      eachPixel(state, (y, x) => {
        if (!reads(seen, y, x)) put("number", y, x, phaseOf(y, x, modulus));
      });
      return found;
    }
    const most = greatest(seen);
    if (most > 999n) return "";
    for (const y of union(seen.rows)) {
      for (const x of union(seen.columns)) {
        const ways = paths(seen, y, x);
        const dark = 2n * ways > most;
        if (ways) put(`number${dark ? " on-dark" : ""}`, y, x, ways);
      }
    }
    return found;
  }

  // A sign a branch, around (0, 0), from -1 to 1: colours are not all.
  const SIGNS = [
    "M-1 -1h2v2h-2z",
    "M0 -1.3L1.3 0L0 1.3L-1.3 0z",
    "M0 -1.2L1.2 1H-1.2z",
    "M-.4 -1.2h.8v.8h.8v.8h-.8v.8h-.8v-.8h-.8v-.8h.8z",
    "M-1.1 0a1.1 1.1 0 1 0 2.2 0a1.1 1.1 0 1 0 -2.2 0z",
    "M0 1.2L1.2 -1H-1.2z",
    "M-1.2 -.5h2.4v1h-2.4z",
    "M-.5 -1.2h1v2.4h-1z",
  ];
  const sign = (branch, x, y, radius) => tag("path", {
    class: `sign branch-${branch}`,
    transform: `translate(${x} ${y}) scale(${radius})`,
    d: SIGNS[branch],
  });

  // The least distance between two pixels of a line.
  const gap = (line) => union([line]).reduce(([least, before], i) =>
    [Math.min(least, i - before), i], [Infinity, -Infinity])[0];

  // The pixels of one branch alone: signs as large as keeps them apart, or,
  // where there are many, one a cell.
  function signsOf(branch, pixels, { id, cell, tall, apart }) {
    const radius = Math.max(0.36, Math.min(apart * 0.36, 5 / cell));
    if (pixels.length <= MOST_SIGNS) {
      return pixels.map(([y, x]) =>
        sign(branch, x + 0.5, (y + 0.5) * tall, radius)).join("");
    }
    const tile = tag("pattern", {
      id: `${id}-${branch}`, width: 1, height: tall,
      patternUnits: "userSpaceOnUse",
    }, sign(branch, 0.5, 0.5 * tall, 0.36));
    const d = pixels.map(([y, x]) => box(x, y * tall, 1, tall)).join("");
    return tile + tag("path", { d, fill: `url(#${id}-${branch})` });
  }

  // Outlines of the branches' fields, and the numbers of the branches, on
  // one line where fields begin in one place.
  function outlines(state, seen, cell, tall) {
    const { branches, at, axes } = state;
    const names = new Map();
    const drawn = branches.map((stack, i) => {
      const column = place(state, at.at(-1), [stack]);
      const row = axes === 1 ? seen.row : place(state, at[0], [stack]);
      const x = Math.max(column.first, seen.low) + 2 / cell;
      const y = Math.max(row.first * tall, axes === 1 ? 0 : seen.low +
        16 / cell) - 3 / cell;
      const key = `${x} ${y}`;
      names.set(key, { x, y, list: [...names.get(key)?.list ?? [], i + 1] });
      return path(`outline outline-${i}`,
        box(column.first, row.first * tall, column.size, row.size * tall));
    });
    const style = `font-size: ${13 / cell}px; stroke-width: ${3 / cell}px`;
    return drawn.join("") + [...names.values()].map(({ x, y, list }) =>
      text("name", x, y, list.join(", "), { style })).join("");
  }

  // Pixels by the branch that reads them; one that several read is dark.
  function byBranch(seen, state, { cell, tall, prefix }) {
    const { rows, columns } = seen;
    const own = state.branches.map(() => []);
    let shared = "";
    for (const y of union(rows)) {
      for (const x of union(columns)) {
        const found = [...own.keys()].filter((i) =>
          rows[i].has(y) && columns[i].has(x));
        if (found.length === 1) own[found[0]].push([y, x]);
        if (found.length > 1) shared += box(x, y * tall, 1, tall);
      }
    }
    const id = `${prefix}sign`;
    return path("shared", shared) + own.map((pixels, i) => {
      const apart = Math.min(gap(rows[i]), gap(columns[i]));
      return signsOf(i, pixels, { id, cell, tall, apart });
    }).join("") + outlines(state, seen, cell, tall);
  }

  const hatching = (id, cell, tall) => tag("defs", {}, tag("pattern", {
    // Lines 45 degrees steep, 5 pixels apart, whatever the size of a cell.
    id,
    width: 5 / cell,
    height: 5 / cell,
    patternUnits: "userSpaceOnUse",
    patternTransform: (tall === 1 ? "" : `scale(1 ${1 / tall}) `) +
      "rotate(45)",
  }, tag("path", { class: "hatch", d: `M0 0v${5 / cell}` })));

  // Where all outputs stand, if they are apart.
  function centres(state, cell, tall) {
    const { branches, size, axes } = state;
    const { jump } = field(branches);
    if (jump === 1 || cell * jump <= 4) return "";
    const outputs = [...new Array(outputSize(size, branches)).keys()]
      .map((i) => place(state, i).stand + 0.5);
    let d = "";
    for (const v of axes === 1 ? [0.5 * tall] : outputs) {
      for (const u of outputs) d += box(u - 0.12, v - 0.12, 0.24);
    }
    return path("centre", d);
  }

  // The cells of the input, each 1 by 1.
  function cells(seen, state, { modulus, hatch, cell }) {
    const { size, show, axes } = state;
    const rows = axes === 1 ? 1 : size;
    let lines = "";
    for (let i = 0; i <= size && cell >= 5; i++) {
      if (i <= rows) lines += `M0 ${i}h${size}`;
      lines += `M${i} 0v${rows}`;
    }
    const hole = show === "paths" ? missed(seen, state) : "";
    return path("paper", box(0, 0, size, rows)) +
      (show === "phases" ? phases(seen, state, modulus) : "") +
      (show === "paths" ? shades(seen) : "") +
      path("hole", hole) +
      (hole && tag("path", { d: hole, fill: `url(#${hatch})` })) +
      path("rule", lines) +
      path("border", box(0, 0, size, rows));
  }

  // What one output reads of the input.
  function map(state, { width, modulus, prefix = "" }) {
    const seen = look(state);
    const { low, high, row, column } = seen;
    const side = high - low;
    const cell = width / side;
    const line = state.axes === 1;
    const tall = line ? Math.max(1, ROW / cell) : 1;
    const hatch = `${prefix}hatch`;
    const [v, u] = [(row.stand + 0.5) * tall, column.stand + 0.5];
    const mark = Math.max(0.45, 6 / cell);
    const cross = `M${u - mark} ${v}h${2 * mark}M${u} ${v - mark}v${2 * mark}`;
    // Above a row there is room for the numbers of branches.
    const [top, bottom] = line
      ? [state.show === "branches" ? -18 / cell : -3 / cell, tall + 3 / cell]
      : [low, high];
    const drawn = cells(seen, state, { modulus, hatch, cell });
    return picture(low, top, side, bottom - top, [
      hatching(hatch, cell, tall),
      path("beyond", box(low, line ? 0 : low, side, line ? tall : side)),
      tall === 1 ? drawn : tag("g", { transform: `scale(1 ${tall})` }, drawn),
      centres(state, cell, tall),
      state.show === "branches" ? byBranch(seen, state, { cell, tall, prefix })
        : path("field",
          box(column.first, row.first * tall, column.size, row.size * tall)),
      cell >= LEGIBLE && state.show !== "branches"
        ? numbers(seen, state, modulus, tall) : "",
      path("halo", cross),
      path("chosen", cross),
    ].join(""));
  }

  book.drawing = {
    SHADE_LEVELS,
    ROW,
    tag,
    path,
    box,
    text,
    picture,
    sign,
    gap,
    phaseClass,
    place,
    greatest,
    look,
    view,
    map,
  };
})((globalThis.atrousExplorer ??= {}));

// Pictures of a stack, as text in SVG. Colours are classes of picture.css.
(function (book) {
  "use strict";
  const { field, holes, outputSize, sizes, fields, trace, validWeights } =
    book.arithmetic;

  const SHADE_LEVELS = 8;
  const PHASE_COLOURS = 9;
  const LEGIBLE = 20; // pixels of a cell that has room for a number

  const tag = (name, attributes, content = "") =>
    `<${name}${Object.entries(attributes)
      .map(([key, value]) => ` ${key}="${value}"`)
      .join("")}>${content}</${name}>`;

  const path = (kind, d) => (d ? tag("path", { class: kind, d }) : "");
  const box = (x, y, w, h = w) => `M${x} ${y}h${w}v${h}h${-w}z`;
  const text = (kind, x, y, words, more = {}) =>
    tag("text", { class: kind, x, y, ...more }, words);

  // What a map shows: all pixels, and as many beyond as the first and last
  // fields reach, but not so many that the map becomes small.
  function view({ layers, size }) {
    const all = field(layers);
    const first = all.start - (all.size - 1) / 2;
    const outputs = outputSize(size, layers);
    const last = first + (outputs - 1) * all.jump + all.size;
    const most = Math.ceil(size / 10);
    return {
      low: -Math.min(most, Math.max(0, -first)),
      high: size + Math.min(most, Math.max(0, last - size)),
    };
  }

  // First pixel of the field of an output, and its centre.
  function place({ layers }, index) {
    const { size, jump, start } = field(layers);
    const centre = start + index * jump;
    return { first: centre - (size - 1) / 2, centre, size };
  }

  // What one output reads, along both axes.
  function look(state) {
    const { layers, size, at } = state;
    const [rows, columns] = at.map((i) => trace(size, layers, i));
    return {
      rows,
      columns,
      row: place(state, at[0]),
      column: place(state, at[1]),
      ...view(state),
    };
  }

  const greatest = (paths) =>
    [...paths.values()].reduce((a, b) => (a > b ? a : b), 0n);

  // Reached pixels by shade: a path of runs for each level of darkness.
  function shades(rows, columns) {
    const [high, wide] = [greatest(rows), greatest(columns)].map(Number);
    const levels = new Array(SHADE_LEVELS).fill("");
    const sorted = [...columns].sort(([a], [b]) => a - b);
    for (const [y, up] of rows) {
      let run = null;
      for (const [x, across] of [...sorted, [NaN, 0n]]) {
        const share = (Number(up) / high) * (Number(across) / wide);
        const level = Math.ceil(share * SHADE_LEVELS) - 1;
        if (run && (x !== run.x + run.length || level !== run.level)) {
          levels[run.level] += box(run.x, y, run.length, 1);
          run = null;
        }
        if (run) run.length += 1;
        else run = { x, length: 1, level };
      }
    }
    return levels.map((d, i) => path(`shade-${i}`, d)).join("");
  }

  // Pixels of the field, on the map, that no path of this output reaches.
  function missed(seen, size) {
    const inside = ({ first, size: n }) =>
      [Math.max(0, first), Math.min(size, first + n)];
    const [top, bottom] = inside(seen.row);
    const [left, right] = inside(seen.column);
    if (bottom <= top || right <= left) return "";
    let d = "";
    for (let y = top; y < bottom; y++) {
      let x = left;
      for (let end = left; end <= right; end++) {
        const hit = seen.rows[0].has(y) && seen.columns[0].has(end);
        if (end < right && !hit) continue;
        if (end > x) d += box(x, y, end - x, 1);
        x = end + 1;
      }
    }
    return d;
  }

  const phaseOf = (y, x, modulus) => (y % modulus) * modulus + (x % modulus);

  function phases(seen, size, modulus) {
    const [pale, full] = [0, 0].map(() => new Array(PHASE_COLOURS).fill(""));
    let dots = "";
    for (let y = 0; y < size; y++) {
      for (let x = 0; x < size; x++) {
        const colour = phaseOf(y, x, modulus) % PHASE_COLOURS;
        const hit = seen.rows[0].has(y) && seen.columns[0].has(x);
        (hit ? full : pale)[colour] += box(x, y, 1);
        if (hit) dots += box(x + 0.3, y + 0.3, 0.4);
      }
    }
    const coloured = (kind) => (d, i) => path(`${kind} phase-${i}`, d);
    return (
      pale.map(coloured("pale")).join("") +
      full.map(coloured("full")).join("") +
      path("dot", dots)
    );
  }

  function numbers(seen, state, modulus) {
    let found = "";
    const put = (kind, y, x, words) => {
      found += text(kind, x + 0.5, y + 0.5, words);
    };
    if (state.show === "phases") {
      for (let y = 0; y < state.size; y++) {
        for (let x = 0; x < state.size; x++) {
          const hit = seen.rows[0].has(y) && seen.columns[0].has(x);
          if (!hit) put("number", y, x, phaseOf(y, x, modulus));
        }
      }
      return found;
    }
    const most = greatest(seen.rows[0]) * greatest(seen.columns[0]);
    if (most > 999n) return "";
    for (const [y, up] of seen.rows[0]) {
      for (const [x, across] of seen.columns[0]) {
        const dark = 2n * up * across > most;
        put(`number${dark ? " on-dark" : ""}`, y, x, up * across);
      }
    }
    return found;
  }

  // The input map from above: what one output reads of it.
  function map(state, { width, modulus, prefix = "" }) {
    const seen = look(state);
    const { low, high, row, column } = seen;
    const { size, layers, show } = state;
    const side = high - low;
    const cell = width / side;
    const hatch = `${prefix}hatch`;
    const lines = [];
    for (let i = 0; i <= size && cell >= 5; i++) {
      lines.push(`M0 ${i}h${size}M${i} 0v${size}`);
    }
    const { jump, start } = field(layers);
    const outputs = outputSize(size, layers);
    let centres = "";
    if (jump > 1 && cell * jump > 4) {
      for (let y = 0; y < outputs; y++) {
        for (let x = 0; x < outputs; x++) {
          const [v, u] = [start + y * jump + 0.5, start + x * jump + 0.5];
          centres += box(u - 0.12, v - 0.12, 0.24);
        }
      }
    }
    const [v, u] = [row.centre + 0.5, column.centre + 0.5];
    const mark = Math.max(0.45, 6 / cell);
    const cross = `M${u - mark} ${v}h${2 * mark}M${u} ${v - mark}v${2 * mark}`;
    const hole = missed(seen, size);
    const content = [
      // Lines 45 degrees steep, 5 pixels apart, whatever the size of a cell.
      tag("defs", {}, tag("pattern", {
        id: hatch,
        width: 5 / cell,
        height: 5 / cell,
        patternUnits: "userSpaceOnUse",
        patternTransform: "rotate(45)",
      }, tag("path", { class: "hatch", d: `M0 0v${5 / cell}` }))),
      path("beyond", box(low, low, side)),
      path("paper", box(0, 0, size)),
      show === "phases"
        ? phases(seen, size, modulus)
        : shades(seen.rows[0], seen.columns[0]),
      show === "phases" ? "" : path("hole", hole),
      show === "phases" ? ""
        : tag("path", { d: hole, fill: `url(#${hatch})` }),
      path("rule", lines.join("")),
      path("border", box(0, 0, size)),
      path("centre", centres),
      path("field", box(column.first, row.first, row.size)),
      cell >= LEGIBLE ? numbers(seen, state, modulus) : "",
      path("halo", cross),
      path("chosen", cross),
    ];
    return tag("svg", {
      xmlns: "http://www.w3.org/2000/svg",
      class: "picture",
      viewBox: `${low} ${low} ${side} ${side}`,
      "aria-hidden": "true",
    }, content.join(""));
  }

  const describe = ({ kernel, stride, dilation, padding }) =>
    `${kernel}×${kernel}` +
    (dilation > 1 ? `, rate ${dilation}` : "") +
    (stride > 1 ? `, stride ${stride}` : "") +
    (padding > 0 ? `, padding ${padding}` : "");

  // The stack from the side, along the row of the chosen output: its maps
  // from the output on top to the input, and the paths between them.
  function section(state, { width }) {
    const { layers, size } = state;
    const { columns: levels, column } = look(state);
    const sides = [size, ...sizes(size, layers)];
    const found = [{ jump: 1, start: 0 }, ...fields(layers)];
    const ends = found.map(({ jump, start }, i) =>
      start + (sides[i] - 1) * jump + 1);
    const low = Math.min(...found.map(({ start }) => start));
    const high = Math.max(...ends);
    const scale = (width - 16) / (high - low);
    const step = Math.max(34, Math.min(58, 420 / Math.max(1, layers.length)));
    const top = layers.length;
    const x = (level, i) =>
      8 + (found[level].start + i * found[level].jump + 0.5 - low) * scale;
    const y = (level) => 24 + (top - level) * step;
    const round = (value) => Math.round(value * 100) / 100;
    let lines = "";
    layers.forEach((one, below) => {
      let d = "";
      for (const place of levels[below + 1].keys()) {
        for (let t = 0; t < one.kernel; t++) {
          const to = place * one.stride - one.padding + t * one.dilation;
          if (!levels[below].has(to)) continue;
          d += `M${round(x(below + 1, place))} ${y(below + 1)}` +
            `L${round(x(below, to))} ${y(below)}`;
        }
      }
      lines += path(`line line-${below % 2}`, d);
    });
    const never = new Set(holes(layers).map((i) => i + column.first));
    let places = "";
    levels.forEach((paths, level) => {
      const apart = found[level].jump * scale;
      const radius = Math.max(0.7, Math.min(6, apart * 0.36));
      let [read, idle, hollow] = ["", "", ""];
      for (let i = 0; i < sides[level]; i++) {
        const [u, v, r] = [round(x(level, i)), y(level), round(radius)];
        const square = box(u - r, v - r, 2 * r);
        if (paths.has(i)) read += square;
        else if (level || !never.has(i)) idle += apart > 3 ? square : "";
        else hollow += `M${u} ${v - r}l${r} ${r}l${-r} ${r}l${-r} ${-r}z`;
      }
      places += path("idle", idle) + path("missing", hollow) +
        path("read", read);
    });
    const words = sides.map((side, level) =>
      text("label", 8, y(level) - 10,
        level ? `${level}: ${describe(layers[level - 1])} → ${side}`
          : `input ${side}`),
    );
    const height = 24 + top * step + 14;
    return tag("svg", {
      xmlns: "http://www.w3.org/2000/svg",
      class: "picture",
      viewBox: `0 0 ${width} ${height}`,
      "aria-hidden": "true",
    }, path("paper", box(0, 0, width, height)) + lines + places +
      words.join(""));
  }

  // For each rate up to the map's side: shares of the outputs by their number
  // of valid weights, at stride 1 and the padding that keeps the size.
  function validCurves(one, side) {
    const curves = new Map();
    for (let rate = 1; rate <= side; rate++) {
      const made = { ...one, stride: 1, dilation: rate, padding: 0 };
      made.padding = book.state.keepingPadding(made);
      // An even kernel's padding is rounded down, and may not do.
      if (!book.state.outputSide({ layers: [made], size: side })) continue;
      for (const [number, count] of validWeights(side, made)) {
        if (!curves.has(number)) curves.set(number, new Array(side).fill(0));
        curves.get(number)[rate - 1] = count / side ** 2;
      }
    }
    // At most six, as many as there are colours: those that rise highest.
    return [...curves]
      .map(([number, shares]) =>
        ({ number, shares, top: Math.max(...shares) }))
      .sort((a, b) => b.top - a.top)
      .slice(0, 6)
      .sort((a, b) => a.number - b.number);
  }

  function validPlot(one, side, { width }) {
    const [left, right, top, bottom, high] = [38, 12, 22, 36, 200];
    const wide = width - left - right;
    const x = (rate) =>
      left + (side > 1 ? (wide * (rate - 1)) / (side - 1) : wide / 2);
    const y = (share) => top + high * (1 - share);
    const round = (value) => Math.round(value * 10) / 10;
    let content = path("paper", box(0, 0, width, top + high + bottom));
    for (const share of [0, 0.5, 1]) {
      content += path("rule", `M${left} ${y(share)}h${wide}`);
      content += text("label end", left - 6, y(share) + 4, share);
    }
    const ticks = new Set([1, Math.ceil(side / 2), side]);
    for (const rate of ticks) {
      content += text("label middle", round(x(rate)), top + high + 16, rate);
    }
    content += text("label middle", left + wide / 2, top + high + 31, "rate");
    if (one.dilation <= side) {
      content += path("now", `M${round(x(one.dilation))} ${top}v${high}`);
    }
    const labels = [];
    validCurves(one, side).forEach(({ number, shares, top: most }, i) => {
      const points = shares.map((s, j) => `${round(x(j + 1))} ${round(y(s))}`);
      content += path(`curve curve-${i}`, `M${points.join("L")}`);
      const peak = shares.indexOf(most) + 1;
      const anchor = peak <= side / 4 ? "" : peak > (3 * side) / 4 ? " end"
        : " middle";
      labels.push(
        text(`label${anchor}`, round(x(peak)), round(y(most)) - 6,
          `${number} valid`),
      );
    });
    return tag("svg", {
      xmlns: "http://www.w3.org/2000/svg",
      class: "picture",
      viewBox: `0 0 ${width} ${top + high + bottom}`,
      "aria-hidden": "true",
    }, content + labels.join(""));
  }

  book.drawing = {
    SHADE_LEVELS,
    greatest,
    look,
    view,
    map,
    section,
    validCurves,
    validPlot,
    describe,
  };
})((globalThis.atrousExplorer ??= {}));

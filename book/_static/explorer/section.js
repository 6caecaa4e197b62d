// The stacks from the side, along the row of the chosen output: their maps
// from the output on top to the input, and the paths between them.
(function (book) {
  "use strict";
  const { sizes, fields } = book.arithmetic;
  const { holes } = book.branches;
  const { path, box, text, picture, look, sign, gap } = book.drawing;
  const { describe } = book.words;
  const { behind } = book.state;

  const MOST_LINES = 1100; // of one layer: more could not be told apart

  const round = (value) => Math.round(value * 10) / 10;

  // Each branch's maps, the input first: their sides, and where they lie.
  const levelsOf = (stack, state) => {
    const sides = [state.size, ...sizes(state.size, stack)];
    return [{ size: 1, jump: 1, start: 0 }, ...fields(stack)].map((one, i) => {
      const low = one.start + behind(state, one);
      const high = low + (sides[i] - 1) * one.jump + 1;
      return { low, high, jump: one.jump, side: sides[i] };
    });
  };

  // The places of a map that are read, or if they are many every so many of
  // them, for something is drawn `each` times at each of them.
  function some(paths, each = 1) {
    const places = [...paths.keys()].sort((a, b) => a - b);
    const nth = Math.ceil((places.length * each) / MOST_LINES);
    return places.filter((_, i) => i % nth === 0);
  }

  // Where level and place of a branch stand in the picture.
  function layout(state, width) {
    const { branches } = state;
    const maps = branches.map((stack) => levelsOf(stack, state));
    const low = Math.min(...maps.flat().map((map) => map.low));
    const high = Math.max(...maps.flat().map((map) => map.high));
    const scale = (width - 16) / (high - low);
    const top = Math.max(...branches.map((stack) => stack.length));
    const step = Math.max(34, Math.min(58, 420 / Math.max(1, top)));
    return {
      maps,
      scale,
      height: 24 + top * step + 14,
      x: (map, i) => round(8 + (map.low + i * map.jump + 0.5 - low) * scale),
      // The input is below and the output on top, however many lie between.
      y: (level, depth) =>
        round(24 + (depth ? 1 - level / depth : 1) * top * step),
    };
  }

  // The paths of a branch, layer by layer; one without layers hands on.
  function lines(stack, paths, { maps, x, y }, kind) {
    if (!stack.length) {
      const [u] = [...paths[0].keys()].map((place) => x(maps[0], place));
      return path(`line ${kind(0)}`, `M${u} ${y(1, 1)}V${y(0, 1)}`);
    }
    return stack.map((one, below) => {
      let d = "";
      for (const place of some(paths[below + 1], one.kernel)) {
        for (let t = 0; t < one.kernel; t++) {
          const to = place * one.stride - one.padding + t * one.dilation;
          if (!paths[below].has(to)) continue;
          d += `M${x(maps[below + 1], place)} ${y(below + 1, stack.length)}` +
            `L${x(maps[below], to)} ${y(below, stack.length)}`;
        }
      }
      return path(`line ${kind(below)}`, d);
    }).join("");
  }

  const radius = (map, { scale }) =>
    round(Math.max(0.7, Math.min(6, map.jump * scale * 0.36)));

  const diamond = (map, at, v, i) => {
    const r = radius(map, at);
    return `M${at.x(map, i)} ${v - r}l${r} ${r}l${-r} ${r}l${-r} ${-r}z`;
  };

  // A square at a place of a map, or a bar from one to another.
  function bar(map, at, v, from, to = from) {
    const { x } = at;
    const r = radius(map, at);
    const wide = round(x(map, to) - x(map, from) + 2 * r);
    return box(round(x(map, from) - r), v - r, wide, 2 * r);
  }

  // All places of one map: read, idle, played, or in no way to be reached.
  // Read ones too near to be told apart become bars.
  function places(map, paths, at, v, { never, made } = {}) {
    const apart = map.jump * at.scale;
    const square = (from, to) => bar(map, at, v, from, to);
    let [read, idle, hollow, filled] = ["", "", "", ""];
    for (let i = 0; i < map.side; i++) {
      const from = i;
      while (apart < 2 && paths.has(i) && paths.has(i + 1)) i++;
      if (paths.has(i)) read += square(from, i);
      else if (made && i >= made[0] && i < made[1]) filled += square(i);
      else if (!never?.has(i)) idle += apart > 3 ? square(i) : "";
      else hollow += diamond(map, at, v, i);
    }
    return path("idle", idle) + path("made", filled) +
      path("missing", hollow) + path("read", read);
  }

  // The holes of the field that lie on the input.
  const unreached = ({ branches }, { column }) =>
    new Set(holes(branches).map((i) => i + column.first));

  // The outputs of this row that were played before the chosen one.
  function played({ at }, from) {
    if (!from) return undefined;
    return [at.length === 1 || from[0] === at[0] ? from.at(-1) : 0, at.at(-1)];
  }

  // One stack, each of whose layers is named.
  function alone(state, seen, at, made) {
    const { branches: [stack], axes } = state;
    const [paths] = seen.levels;
    const [maps] = at.maps;
    const depth = stack.length;
    const kind = (below) => `line-${below % 2}`;
    const more = (level) => ({
      never: level ? undefined : unreached(state, seen),
      made: level === depth ? made : undefined,
    });
    return lines(stack, paths, { ...at, maps }, kind) +
      maps.map((map, level) => places(map, paths[level], at,
        at.y(level, depth), more(level))).join("") +
      maps.map(({ side }, level) => text("label", 8, at.y(level, depth) - 10,
        level ? `${level}: ${describe(stack[level - 1], axes)} → ${side}`
          : `input ${side}`)).join("");
  }

  // Branches side by side: each has its own dashes, and its sign wherever
  // its paths end or meet. On their way down from one output, places that
  // would lie on one another stand side by side.
  function parallel(state, seen, at, made) {
    const { branches, size } = state;
    const beside = (i) => ({
      ...at,
      maps: at.maps[i],
      x(map, place) {
        const level = at.maps[i].indexOf(map);
        const alone = level > 0 && level < branches[i].length &&
          seen.levels[i][level].size === 1;
        const aside = alone ? 10 * (i - (branches.length - 1) / 2) : 0;
        return at.x(map, place) + aside;
      },
    });
    const drawn = branches.map((stack, i) => lines(stack, seen.levels[i],
      beside(i), () => `outline-${i}`)).join("");
    const all = new Map(seen.columns.flatMap((one) => [...one]));
    const shared = new Set([...all.keys()].filter((place) =>
      seen.columns.filter((one) => one.has(place)).length > 1));
    const [input] = at.maps[0];
    const output = at.maps[0].at(-1);
    const bottom = at.y(0, 1);
    const signs = branches.flatMap((stack, i) =>
      seen.levels[i].slice(0, stack.length || 1).flatMap((paths, level) => {
        const map = at.maps[i][level];
        const apart = gap(paths) * map.jump * at.scale;
        const wide = round(Math.max(1.4, Math.min(4, apart * 0.36)));
        return some(paths)
          .filter((place) => level || !shared.has(place))
          .map((place) => sign(i, beside(i).x(map, place),
            at.y(level, stack.length), wide));
      }));
    return drawn +
      places(input, all, at, bottom, { never: unreached(state, seen) }) +
      places(output, new Map([[state.at.at(-1), 1n]]), at, at.y(1, 1),
        { made }) +
      signs.join("") +
      path("shared", [...shared].map((i) => bar(input, at, bottom, i))
        .join("")) +
      text("label", 8, at.y(1, 1) - 10, `output ${output.side}`) +
      text("label", 8, bottom - 10, `input ${size}`);
  }

  // `from` is the output with which playing began, if it has.
  function section(state, { width, from }) {
    const seen = look(state);
    const at = layout(state, width);
    const draw = state.branches.length > 1 ? parallel : alone;
    return picture(0, 0, width, at.height,
      path("paper", box(0, 0, width, at.height)) +
        draw(state, seen, at, played(state, from)));
  }

  book.section = { section };
})((globalThis.atrousExplorer ??= {}));

// What the explorer shows, as one object, and as the text after # in the
// address: parse(format(state)) is the state again.
(function (book) {
  "use strict";
  const { layer, span, causalPadding } = book.arithmetic;
  const { outputSize } = book.branches;

  // What a page can draw and a person can read, not what is true.
  const LIMITS = {
    axes: [1, 2],
    kernel: [1, 31],
    stride: [1, 8],
    dilation: [1, 512],
    padding: [0, 4096],
    size: [1, 257],
    channels: [1, 4096],
    map: [1, 129],
  };
  const LONGEST = 4096; // positions of a sequence, which is a single row
  const MOST_LAYERS = 32; // of one branch
  const MOST_BRANCHES = 8;
  const SHADES = ["paths", "phases", "branches"];
  const START = {
    branches: [[1, 2, 9].map((rate) => layer(3, 1, rate, rate))],
    axes: 2, // an image, or 1: a sequence
    size: 33,
    at: null, // row and column of the output, or its position; null: usual()
    channels: 21,
    show: "paths",
    branch: 1, // number of the branch that is edited and looked at closely
    phase: 0, // number of its layer whose step makes phases; 0 is all
    layer: 3, // number of its layer whose valid weights are counted
    map: 65,
  };

  const sizeLimits = (axes) =>
    axes === 1 ? [LIMITS.size[0], LONGEST] : LIMITS.size;

  const within = (name, value, axes = 2) => {
    const [low, high] = name === "size" ? sizeLimits(axes) : LIMITS[name];
    return Number.isInteger(value) && value >= low && value <= high;
  };

  function whole(text, [low, high]) {
    const value = /^\d{1,4}$/.test(text) ? Number(text) : NaN;
    if (!(value >= low && value <= high)) {
      throw new RangeError(`${low} to ${high} is possible`);
    }
    return value;
  }

  // k3s1r2p2; a stride or a rate of 1 and a padding of 0 may be left out. A
  // padding before the input only is written c2.
  const formatLayer = ({ kernel, stride, dilation, padding, causal }) =>
    `k${kernel}` +
    (stride > 1 ? `s${stride}` : "") +
    (dilation > 1 ? `r${dilation}` : "") +
    (causal ? `c${padding}` : padding > 0 ? `p${padding}` : "");

  function parseLayer(text, index) {
    const found =
      /^k(\d+)(?:s(\d+))?(?:r(\d+))?(?:([pc])(\d+))?$/.exec(text);
    const [, k, s = 1, r = 1, side, p = 0] = found ?? [];
    const made = { kernel: +k, stride: +s, dilation: +r, padding: +p };
    if (!found || !Object.keys(made).every((n) => within(n, made[n]))) {
      throw new RangeError(`layer ${index + 1} cannot be “${text}”`);
    }
    return side === "c" ? { ...made, causal: true } : made;
  }

  function parseLayers(text) {
    const layers = text ? text.split("-").map(parseLayer) : [];
    if (layers.length > MOST_LAYERS) {
      throw new RangeError(`at most ${MOST_LAYERS} layers are possible`);
    }
    return layers;
  }

  // Branches stand side by side: k3r6p6|k3r12p12|k1.
  function parseBranches(text) {
    const found = text.split("|").map(parseLayers);
    if (found.length > MOST_BRANCHES) {
      throw new RangeError(`at most ${MOST_BRANCHES} branches are possible`);
    }
    return found;
  }

  function parseAt(text, { axes }) {
    const parts = text.split(".");
    if (parts.length !== axes) {
      throw new RangeError(
        `${axes === 1 ? "one position" : "row.column"} is possible`,
      );
    }
    return parts.map((part) => whole(part, [0, 9999]));
  }

  function parseShow(text) {
    if (SHADES.includes(text)) return text;
    throw new RangeError(`${SHADES.join(" or ")} is possible`);
  }

  // How each part of an address is read, given what was read before it.
  const READ = {
    layers: parseBranches,
    axes: (text) => whole(text, LIMITS.axes),
    size: (text, { axes }) => whole(text, sizeLimits(axes)),
    at: parseAt,
    channels: (text) => whole(text, LIMITS.channels),
    show: parseShow,
    branch: (text) => whole(text, [1, MOST_BRANCHES]),
    phase: (text) => whole(text, [0, MOST_LAYERS]),
    layer: (text) => whole(text, [1, MOST_LAYERS]),
    map: (text) => whole(text, LIMITS.map),
  };
  // What the address calls by another name than the state.
  const NAMES = { layers: "branches" };

  // Padding that keeps the size, rounded down where no padding does.
  const keepingPadding = (one) => one.causal
    ? causalPadding(one.kernel, one.dilation)
    : Math.floor((span(one) - 1) / 2);

  // The layers of the branch that is looked at.
  const layersOf = ({ branches, branch }) => branches[branch - 1];

  // What the input is: "image", "sequence" or "causal", a sequence of which
  // no output reads what comes after it.
  function form({ axes, branches }) {
    if (axes === 2) return "image";
    const all = branches.flat();
    return all.length && all.every(({ causal }) => causal)
      ? "causal" : "sequence";
  }

  // The state in another form; padding that kept the size goes on doing so.
  function reform(state, name) {
    const repad = ({ causal, ...one }) => {
      const made = name === "causal" ? { ...one, causal: true } : one;
      const kept = one.padding === keepingPadding({ ...one, causal });
      return { ...made, padding: kept ? keepingPadding(made) : one.padding };
    };
    const axes = name === "image" ? 2 : 1;
    const [, longest] = sizeLimits(axes);
    return {
      ...state,
      axes,
      size: Math.min(state.size, longest),
      at: axes === state.axes ? state.at : null,
      branches: state.branches.map((layers) => layers.map(repad)),
    };
  }

  // Side of the output, or 0 where there is none.
  function outputSide({ branches, size }) {
    try {
      return outputSize(size, branches);
    } catch {
      return 0;
    }
  }

  // The state with what points outside of it led back.
  function settle(state) {
    const side = outputSide(state);
    const branch = Math.min(state.branch, state.branches.length);
    const most = state.branches[branch - 1].length;
    const apart = state.branches.length > 1;
    return {
      ...state,
      show: state.show === "branches" && !apart ? START.show : state.show,
      at: state.at && state.at.map((i) => (side ? Math.min(i, side - 1) : i)),
      branch,
      phase: state.phase <= most ? state.phase : 0,
      layer: Math.max(1, Math.min(state.layer, most)),
    };
  }

  // The output that is looked at first: the middle one, and of what is causal
  // the last, the only one whose whole field lies on the input.
  function usual(state, side) {
    if (form(state) === "causal") return [side - 1];
    return new Array(state.axes).fill((side - 1) >> 1);
  }

  // The state with an output chosen, which pictures and words need, or null,
  // if there is none.
  function chosen(state) {
    const side = outputSide(state);
    return { ...state, at: side ? state.at ?? usual(state, side) : null };
  }

  // How far behind the centre of its field an output stands: of what is
  // causal it stands at the last position it reads, which is its own.
  const behind = (state, { size }) =>
    (form(state) === "causal" ? (size - 1) / 2 : 0);

  // Number of an output in reading order, and the output of a number.
  const ordinal = (at, side) => at.reduce((n, i) => n * side + i, 0);
  const output = (number, side, axes) => axes === 1
    ? [number] : [Math.floor(number / side), number % side];

  function format(state) {
    const text = {
      ...state,
      branches: state.branches
        .map((layers) => layers.map(formatLayer).join("-")).join("|"),
      at: state.at?.join("."),
    };
    return Object.keys(READ)
      .map((key) => [key, NAMES[key] ?? key])
      .filter(([key, name]) =>
        ["layers", "size"].includes(key) || state[name] !== START[name])
      .map(([key, name]) => `${key}=${text[name]}`)
      .join("&");
  }

  // The parts of a hash. What a limit depends on comes first, and a program
  // on the way may have written the "|" in its longer form.
  function split(hash) {
    const parts = hash.replace(/^#/, "").replace(/%7C/gi, "|").split("&");
    const first = (part) => (part.startsWith("axes=") ? 0 : 1);
    return parts.filter(Boolean).sort((a, b) => first(a) - first(b));
  }

  // State of a hash, and sentences on what of it could not be followed.
  function parse(hash) {
    const state = { ...START };
    const problems = [];
    for (const part of split(hash)) {
      const at = part.indexOf("=");
      const [key, text] = [part.slice(0, at), part.slice(at + 1)];
      if (at < 0 || !Object.hasOwn(READ, key)) {
        problems.push(`The address says “${part}”, which means nothing here.`);
        continue;
      }
      try {
        state[NAMES[key] ?? key] = READ[key](text, state);
      } catch (error) {
        problems.push(
          `The address says “${part}”, but ${error.message}. ` +
            "The usual value is shown.",
        );
      }
    }
    const settled = settle(state);
    for (const key of ["at", "show", "branch", "phase", "layer"]) {
      const moved = `${state[key]}` !== `${settled[key]}`;
      if (moved && state[key] !== START[key]) {
        problems.push(
          `The address says “${key}=${[state[key]].flat().join(".")}”, ` +
            "which this stack does not have. The nearest is shown.",
        );
      }
    }
    return { state: settled, problems };
  }

  book.state = {
    LIMITS,
    MOST_BRANCHES,
    MOST_LAYERS,
    START,
    sizeLimits,
    within,
    keepingPadding,
    layersOf,
    form,
    reform,
    outputSide,
    settle,
    chosen,
    behind,
    ordinal,
    output,
    format,
    parse,
  };
})((globalThis.atrousExplorer ??= {}));

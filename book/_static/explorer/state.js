// What the explorer shows, as one object, and as the text after # in the
// address: parse(format(state)) is the state again.
(function (book) {
  "use strict";
  const { layer, span, outputSize } = book.arithmetic;

  // What a page can draw and a person can read, not what is true.
  const LIMITS = {
    kernel: [1, 31],
    stride: [1, 8],
    dilation: [1, 128],
    padding: [0, 512],
    size: [1, 257],
    channels: [1, 4096],
    map: [1, 129],
  };
  const MOST_LAYERS = 32;
  const SHADES = ["paths", "phases"];
  const START = {
    layers: [1, 2, 9].map((rate) => layer(3, 1, rate, rate)),
    size: 33,
    at: null, // row and column of the output; null is the middle
    channels: 21,
    show: "paths",
    phase: 0, // number of the layer whose step makes phases; 0 is all
    layer: 3, // number of the layer whose valid weights are counted
    map: 65,
  };

  const within = (name, value) =>
    Number.isInteger(value) &&
    value >= LIMITS[name][0] &&
    value <= LIMITS[name][1];

  function whole(text, [low, high]) {
    const value = /^\d{1,4}$/.test(text) ? Number(text) : NaN;
    if (!(value >= low && value <= high)) {
      throw new RangeError(`${low} to ${high} is possible`);
    }
    return value;
  }

  // k3s1r2p2; a stride or a rate of 1 and a padding of 0 may be left out.
  const formatLayer = ({ kernel, stride, dilation, padding }) =>
    `k${kernel}` +
    (stride > 1 ? `s${stride}` : "") +
    (dilation > 1 ? `r${dilation}` : "") +
    (padding > 0 ? `p${padding}` : "");

  function parseLayer(text, index) {
    const found = /^k(\d+)(?:s(\d+))?(?:r(\d+))?(?:p(\d+))?$/.exec(text);
    const [, k, s = 1, r = 1, p = 0] = found ?? [];
    const made = { kernel: +k, stride: +s, dilation: +r, padding: +p };
    if (!found || !Object.keys(made).every((n) => within(n, made[n]))) {
      throw new RangeError(`layer ${index + 1} cannot be “${text}”`);
    }
    return made;
  }

  function parseLayers(text) {
    const layers = text ? text.split("-").map(parseLayer) : [];
    if (layers.length > MOST_LAYERS) {
      throw new RangeError(`at most ${MOST_LAYERS} layers are possible`);
    }
    return layers;
  }

  function parseAt(text) {
    const parts = text.split(".");
    if (parts.length !== 2) throw new RangeError("row.column is possible");
    return parts.map((part) => whole(part, [0, 9999]));
  }

  function parseShow(text) {
    if (SHADES.includes(text)) return text;
    throw new RangeError(`${SHADES.join(" or ")} is possible`);
  }

  const READ = {
    layers: parseLayers,
    size: (text) => whole(text, LIMITS.size),
    at: parseAt,
    channels: (text) => whole(text, LIMITS.channels),
    show: parseShow,
    phase: (text) => whole(text, [0, MOST_LAYERS]),
    layer: (text) => whole(text, [1, MOST_LAYERS]),
    map: (text) => whole(text, LIMITS.map),
  };

  // Padding that keeps the size, rounded down where no padding does.
  const keepingPadding = (one) => Math.floor((span(one) - 1) / 2);

  // Side of the output, or 0 where the layers do not fit.
  function outputSide({ layers, size }) {
    try {
      return outputSize(size, layers);
    } catch {
      return 0;
    }
  }

  // The state with what points outside of it led back.
  function settle(state) {
    const { layers } = state;
    const side = outputSide(state);
    const most = layers.length;
    return {
      ...state,
      at: state.at && state.at.map((i) => (side ? Math.min(i, side - 1) : i)),
      phase: state.phase <= most ? state.phase : 0,
      layer: Math.max(1, Math.min(state.layer, most)),
    };
  }

  // The state with an output chosen, which pictures and words need: the
  // middle one, if none is; null, if there is none.
  function chosen(state) {
    const side = outputSide(state);
    const middle = (side - 1) >> 1;
    return { ...state, at: side ? state.at ?? [middle, middle] : null };
  }

  function format(state) {
    const text = {
      ...state,
      layers: state.layers.map(formatLayer).join("-"),
      at: state.at?.join("."),
    };
    return Object.keys(READ)
      .filter((k) => ["layers", "size"].includes(k) || state[k] !== START[k])
      .map((key) => `${key}=${text[key]}`)
      .join("&");
  }

  // State of a hash, and sentences on what of it could not be followed.
  function parse(hash) {
    const state = { ...START };
    const problems = [];
    for (const part of hash.replace(/^#/, "").split("&").filter(Boolean)) {
      const at = part.indexOf("=");
      const [key, text] = [part.slice(0, at), part.slice(at + 1)];
      if (at < 0 || !Object.hasOwn(READ, key)) {
        problems.push(`The address says “${part}”, which means nothing here.`);
        continue;
      }
      try {
        state[key] = READ[key](text);
      } catch (error) {
        problems.push(
          `The address says “${part}”, but ${error.message}. ` +
            "The usual value is shown.",
        );
      }
    }
    const settled = settle(state);
    for (const key of ["at", "phase", "layer"]) {
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
    MOST_LAYERS,
    START,
    within,
    keepingPadding,
    outputSide,
    settle,
    chosen,
    format,
    parse,
  };
})((globalThis.atrousExplorer ??= {}));

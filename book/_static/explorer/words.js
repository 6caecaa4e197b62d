// What the pictures show, in words: for everyone, and for screen readers.
(function (book) {
  "use strict";
  const math = book.arithmetic;
  const { branches: sets } = book;

  const MOST_FIELD = 4097; // pixels; above, only closed forms are evaluated
  const MOST_LISTED = 12;

  const count = (value) => value.toLocaleString("en");
  const square = (side) => `${count(side)} × ${count(side)}`;
  const extent = (side, axes) => (axes === 1 ? count(side) : square(side));
  const noun = (axes) => (axes === 1 ? "position" : "pixel");
  // Of a number or a BigInt.
  const plural = (n, one) =>
    `${count(n)} ${one}${`${n}` === "1" ? "" : "s"}`;

  // Rates that the published rule is about: layers of one kernel, stride 1.
  // Layers of one tap leave no holes and are not asked.
  function ruled(layers) {
    const asked = layers.filter(({ kernel }) => kernel > 1);
    const [first] = asked;
    const alike = asked.every(({ kernel }) => kernel === first.kernel);
    const plain = layers.every(({ stride }) => stride === 1);
    if (asked.length < 2 || !alike || !plain) return null;
    const rates = asked.map(({ dilation }) => dilation);
    return {
      kernel: first.kernel,
      distances: math.largestDistances(rates),
      accepts: math.publishedRule(rates, first.kernel),
    };
  }

  // A layer, as captions and lists name it.
  function describe(one, axes = 2) {
    const { kernel, stride, dilation, padding, causal } = one;
    return (axes === 1 ? plural(kernel, "tap") : `${kernel}×${kernel}`) +
      (dilation > 1 ? `, rate ${dilation}` : "") +
      (stride > 1 ? `, stride ${stride}` : "") +
      (padding > 0 ? `, padding ${padding}` : "") +
      (padding > 0 && causal ? " before" : "");
  }

  // A branch, without what all layers of branches have: that they pad.
  function branchName(layers, axes = 2) {
    const named = layers.map((one) => describe({ ...one, padding: 0 }, axes));
    const most = 3;
    const more = named.length > most ? `; … ${named.length} layers` : "";
    return named.slice(0, most).join("; ") + more || "the input itself";
  }

  // Pixels between those of one phase: the step of a layer, or for the whole
  // set what divides all steps.
  function modulus(state) {
    if (!state.phase) return sets.modulus(state.branches);
    const steps = math.steps(book.state.layersOf(state));
    return steps.find(({ number }) => number === state.phase)?.step ?? 1;
  }

  function output({ branches, size, axes }) {
    try {
      return extent(sets.outputSize(size, branches), axes);
    } catch (error) {
      return `none. ${error.message}`;
    }
  }

  function field({ branches, axes }) {
    const { size, jump, start } = sets.field(branches);
    // Its last pixel is the output's own: nothing that comes later is read.
    const past = size > 1 && start + (size - 1) / 2 === 0;
    return `${extent(size, axes)} input ${noun(axes)}s` +
      (branches.length > 1 ? ", all branches together" : "") +
      `; neighbouring outputs are ${count(jump)} apart, the first is ` +
      `centred at ${count(start)}` +
      (past ? "; it ends at the output's own " +
        `${noun(axes)}, so nothing later is read` : "");
  }

  function coverage({ branches, axes }) {
    const { line, square: inside, side } = sets.reached(branches);
    const [touched, all] = axes === 1 ? [line, side] : [inside, side ** 2];
    // 100 % is said of full coverage only.
    const share = touched === all ? 100 : Math.min(99.9, 100 * touched / all);
    const percent = `${share.toFixed(1)} %`;
    const along = `${count(line)} of ${count(side)} ${noun(axes)}s`;
    if (axes === 1) return `${along}, ${percent}`;
    return `${along} on a line, ${count(touched)} of ${count(all)} ` +
      `in the square, ${percent}`;
  }

  // Holes of a line, and of the square where branches have them there only.
  function missing({ branches, axes }) {
    const found = sets.holes(branches);
    const { square: inside, side } = sets.reached(branches);
    const left = axes === 1 ? found.length : side ** 2 - inside;
    if (!left) return "none";
    const within = branches.length > 1 && axes === 2
      ? `; ${count(left)} in the square` : "";
    if (!found.length) return `none on a line${within}`;
    const listed = found.slice(0, MOST_LISTED).map((i) => i + 1).join(", ");
    const more = found.length > MOST_LISTED ? ", …" : "";
    return `${count(found.length)}${axes === 1 ? "" : " on a line"}, ` +
      `${noun(axes)}s ${listed}${more} of the field, counted from 1${within}`;
  }

  function where({ at, axes }) {
    return axes === 1
      ? `position ${at[0]}` : `row ${at[0]}, column ${at[1]}`;
  }

  function chosen(state) {
    const seen = book.drawing.look(state);
    const { rows, columns } = seen;
    const read = sets.together(
      rows.map((paths) => paths.keys()),
      columns.map((paths) => paths.keys()),
    );
    if (!read) return `${where(state)} reads padding only`;
    const r = modulus(state);
    const phases = (lines) =>
      lines.map((paths) => new Set([...paths.keys()].map((i) => i % r)));
    const met = sets.together(phases(rows), phases(columns));
    return (
      `${where(state)} reads ${plural(read, noun(state.axes))} of the ` +
      `${state.axes === 1 ? "input" : "map"}, the most used ` +
      `by ${plural(book.drawing.greatest(seen), "path")}` +
      (r > 1 ? `; they lie in ${count(met)} of ` +
        `${count(r ** state.axes)} phases` : "")
    );
  }

  function parameters({ branches, channels, axes }) {
    const weights = sets.parameters(branches, channels, axes);
    const { size } = sets.field(branches);
    const dense =
      BigInt(size) ** BigInt(axes) * BigInt(channels) ** 2n +
      BigInt(channels);
    return `${count(weights)} with ${plural(channels, "channel")} in and ` +
      `out of each layer; one dense layer of this field has ${count(dense)}`;
  }

  // Label and text of each fact, by name. `state.at` must be chosen.
  function facts(state) {
    const { branches } = state;
    const counted = sets.field(branches).size <= MOST_FIELD;
    const untold = branches.length > 1 ? "not counted"
      : math.covers(branches[0]) ? "none" : "some";
    return {
      output: ["Output", output(state)],
      field: ["Receptive field", field(state)],
      coverage: ["Coverage", counted ? coverage(state) : "not counted"],
      holes: ["Holes", counted ? missing(state) : untold],
      ...(state.at && counted
        ? { chosen: ["Chosen output", chosen(state)] } : {}),
      parameters: ["Parameters", parameters(state)],
    };
  }

  // What the criterion and the published rule say of the branch looked at.
  function rule(state) {
    const layers = book.state.layersOf(state);
    const exact = math.covers(layers);
    const truth = exact
      ? "No step exceeds the field before it: there is no hole."
      : "A step exceeds the field before it: there are holes.";
    const found = ruled(layers);
    if (!found) {
      return {
        truth,
        rule: "It is about two or more layers of one kernel and stride 1.",
      };
    }
    const { distances, accepts, kernel } = found;
    const list = distances.map((m, i) => `M${i + 1} = ${m}`).join(", ");
    return {
      truth,
      rule:
        `${list}. M2 ${accepts ? "is at most" : "exceeds"} the kernel of ` +
        `${kernel}: ${accepts ? "accepted" : "rejected"}` +
        (accepts === exact ? "." : ", wrongly."),
    };
  }

  function valid(state) {
    const { layer, map, axes } = state;
    const layers = book.state.layersOf(state);
    if (!layers.length) return "There is no layer.";
    const one = layers[layer - 1];
    try {
      const found = math.validWeights(map, one, axes);
      const all = found.reduce((sum, [, n]) => sum + n, 0);
      return `Layer ${layer}, ${describe(one, axes)}, on ` +
        `${extent(map, axes)}: ` + found.reverse().map(([number, n]) =>
          `${number} valid at ${count(n)} of ${count(all)} outputs ` +
          `(${((100 * n) / all).toFixed(1)} %)`).join(", ") + ".";
    } catch (error) {
      return error.message.replace("layer 1", `layer ${layer}`) + ".";
    }
  }

  book.words = {
    MOST_FIELD,
    describe,
    branchName,
    ruled,
    modulus,
    where,
    facts,
    rule,
    valid,
  };
})((globalThis.atrousExplorer ??= {}));

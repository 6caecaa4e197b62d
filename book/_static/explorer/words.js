// What the pictures show, in words: for everyone, and for screen readers.
(function (book) {
  "use strict";
  const math = book.arithmetic;

  const MOST_FIELD = 2049; // pixels; above, only closed forms are evaluated
  const MOST_LISTED = 12;

  const count = (value) => value.toLocaleString("en");
  const square = (side) => `${count(side)} × ${count(side)}`;
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

  const gcd = (a, b) => (b ? gcd(b, a % b) : a);

  // Pixels between those of one phase: the step of a layer, or for the whole
  // stack what divides all steps.
  function modulus({ layers, phase }) {
    const steps = math.steps(layers);
    const own = steps.find(({ number }) => number === phase);
    if (phase) return own ? own.step : 1;
    return steps.reduce((found, { step }) => gcd(found, step), 0) || 1;
  }

  function output({ layers, size }) {
    try {
      return square(math.outputSize(size, layers));
    } catch (error) {
      return `none. ${error.message}`;
    }
  }

  function coverage(layers) {
    const [touched, all] = math.reached(layers);
    // 100 % is said of full coverage only.
    const most = touched === all ? 100 : 99.9;
    const share = Math.min(most, 100 * (touched / all) ** 2);
    return (
      `${count(touched)} of ${count(all)} pixels on a line, ` +
      `${count(touched ** 2)} of ${count(all ** 2)} in the square, ` +
      `${share.toFixed(1)} %`
    );
  }

  function missing(layers) {
    const found = math.holes(layers);
    if (!found.length) return "none";
    const listed = found.slice(0, MOST_LISTED).map((i) => i + 1).join(", ");
    const more = found.length > MOST_LISTED ? ", …" : "";
    return `${count(found.length)} on a line, pixels ${listed}${more}`;
  }

  function chosen(state) {
    const seen = book.drawing.look(state);
    const [rows, columns] = [seen.rows[0], seen.columns[0]];
    const read = rows.size * columns.size;
    const where = `row ${state.at[0]}, column ${state.at[1]}`;
    if (!read) return `${where} reads padding only`;
    const { greatest } = book.drawing;
    const most = greatest(rows) * greatest(columns);
    const r = modulus(state);
    const met = (paths) => new Set([...paths.keys()].map((i) => i % r)).size;
    return (
      `${where} reads ${plural(read, "pixel")} of the map, the most used ` +
      `by ${plural(most, "path")}` +
      (r > 1 ? `; they lie in ${count(met(rows) * met(columns))} of ` +
        `${count(r ** 2)} phases` : "")
    );
  }

  // Label and text of each fact, by name. `state.at` must be chosen.
  function facts(state) {
    const { layers, channels } = state;
    const { size, jump, start } = math.field(layers);
    const counted = size <= MOST_FIELD;
    const weights = math.parameters(layers, channels);
    const dense = BigInt(size) ** 2n * BigInt(channels) ** 2n +
      BigInt(channels);
    return {
      output: ["Output", output(state)],
      field: [
        "Receptive field",
        `${square(size)} input pixels; neighbouring outputs are ` +
          `${count(jump)} apart, the first is centred at ${start}`,
      ],
      coverage: ["Coverage", counted ? coverage(layers) : "not counted"],
      holes: [
        "Holes",
        counted ? missing(layers) : math.covers(layers) ? "none" : "some",
      ],
      ...(state.at && counted
        ? { chosen: ["Chosen output", chosen(state)] } : {}),
      parameters: [
        "Parameters",
        `${count(weights)} with ${plural(channels, "channel")} in and out ` +
          `of each layer; one dense layer of this field has ${count(dense)}`,
      ],
    };
  }

  function rule(layers) {
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
    const { layers, layer, map } = state;
    if (!layers.length) return "There is no layer.";
    const one = layers[layer - 1];
    try {
      const found = math.validWeights(map, one);
      const all = found.reduce((sum, [, n]) => sum + n, 0);
      return `Layer ${layer}, ${book.drawing.describe(one)}, on ` +
        `${square(map)}: ` + found.reverse().map(([number, n]) =>
          `${number} valid at ${count(n)} of ${count(all)} outputs ` +
          `(${((100 * n) / all).toFixed(1)} %)`).join(", ") + ".";
    } catch (error) {
      return error.message.replace("layer 1", `layer ${layer}`) + ".";
    }
  }

  book.words = { MOST_FIELD, ruled, modulus, facts, rule, valid };
})((globalThis.atrousExplorer ??= {}));

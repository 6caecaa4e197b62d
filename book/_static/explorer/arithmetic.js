// The arithmetic of dilated convolutions, as atrous.arithmetic and
// atrous.gridding.hybrid_rates have it: code/tests/book/test_explorer.py
// requires that both are equal.
//
// A layer is {kernel, stride, dilation, padding}, a stack an array of layers,
// first layer first. One that has `causal: true` is padded before its input
// only, as in a sequence whose later positions are not known yet. Every count
// is per axis. Numbers of paths are BigInts; any other number beyond 2^53 is
// refused, so none is ever rounded.
//
// A classic script, since modules do not load from file://. In Node,
// require() it and take globalThis.atrousExplorer.arithmetic.
(function (book) {
  "use strict";

  function need(good, words) {
    if (!good) throw new RangeError(words);
  }

  function exact(value, name) {
    need(Number.isSafeInteger(value), `${name} is beyond 2^53`);
    return value;
  }

  function layer(kernel, stride = 1, dilation = 1, padding = 0) {
    const made = { kernel, stride, dilation, padding };
    const lowest = { kernel: 1, stride: 1, dilation: 1, padding: 0 };
    for (const [name, low] of Object.entries(lowest)) {
      const good = Number.isSafeInteger(made[name]) && made[name] >= low;
      need(good, `${name}=${made[name]}: must be an integer from ${low} on`);
    }
    return made;
  }

  // K = k + (k - 1)(r - 1)
  function effectiveKernel(kernel, dilation = 1) {
    layer(kernel, 1, dilation);
    return exact(kernel + (kernel - 1) * (dilation - 1), "effective kernel");
  }

  const span = ({ kernel, dilation }) => effectiveKernel(kernel, dilation);

  function samePadding(kernel, dilation = 1) {
    const side = effectiveKernel(kernel, dilation);
    need(side % 2, `effective kernel ${side} is even: no padding keeps size`);
    return (side - 1) / 2;
  }

  // Padding that leaves the output no later position than its own.
  const causalPadding = (kernel, dilation = 1) =>
    effectiveKernel(kernel, dilation) - 1;

  // Side of the map after each layer: floor((n + 2p - K) / s) + 1, with p in
  // place of 2p where the padding is before the map only.
  function sizes(size, stack) {
    need(Number.isSafeInteger(size) && size >= 1, `size=${size}`);
    return stack.map((one, i) => {
      const both = one.causal ? 1 : 2;
      const padded = exact(size + both * one.padding, "padded size");
      need(
        padded >= span(one),
        `The effective kernel of layer ${i + 1}, ${span(one)}, does not fit ` +
          `into its map of ${size}, padded to ${padded}`,
      );
      size = Math.floor((padded - span(one)) / one.stride) + 1;
      return size;
    });
  }

  const outputSize = (size, stack) => [size, ...sizes(size, stack)].at(-1);

  // Receptive field, jump and start after each layer, bottom up.
  function fields(stack) {
    let [size, jump, start] = [1, 1, 0];
    return stack.map((one) => {
      size = exact(size + (span(one) - 1) * jump, "field");
      // Twice the start is an integer: the start itself may end in .5.
      start += exact((span(one) - 1 - 2 * one.padding) * jump, "start") / 2;
      exact(2 * start, "start");
      jump = exact(jump * one.stride, "jump");
      return { size, jump, start };
    });
  }

  const field = (stack) => fields(stack).at(-1) ??
    { size: 1, jump: 1, start: 0 };

  // Top down: F = s (F - 1) + K.
  function receptiveField(stack) {
    return stack.reduceRight(
      (size, one) => exact(one.stride * (size - 1) + span(one), "field"),
      1,
    );
  }

  // Paths from each pixel of its field to one output, padding not looked at.
  function usage(stack) {
    let [paths, jump] = [[1n], 1];
    for (const { kernel, stride, dilation } of stack) {
      const step = dilation * jump;
      const length = exact(paths.length + (kernel - 1) * step, "field");
      const reached = new Array(length).fill(0n);
      paths.forEach((ways, pixel) => {
        if (!ways) return;
        for (let t = 0; t < kernel; t++) reached[pixel + t * step] += ways;
      });
      [paths, jump] = [reached, jump * stride];
    }
    return paths;
  }

  // Pixels of its field that a stack's weights touch, and all of them.
  function reached(stack) {
    const counts = usage(stack);
    return [counts.filter((ways) => ways > 0n).length, counts.length];
  }

  // Offsets into the field that no weight touches.
  function holes(stack) {
    return usage(stack).flatMap((ways, offset) => (ways ? [] : [offset]));
  }

  // On real maps, borders and padding included: how many paths lead from the
  // pixels of each layer's input to output `index`, as a Map of pixel to
  // BigInt; the input's first, {index: 1} last. Padding has no paths.
  function trace(size, stack, index) {
    const sides = [size, ...sizes(size, stack)];
    need(index >= 0 && index < sides.at(-1), `index=${index}`);
    const levels = [new Map([[index, 1n]])];
    for (let i = stack.length - 1; i >= 0; i--) {
      const { kernel, stride, dilation, padding } = stack[i];
      const paths = new Map();
      for (const [place, ways] of levels[0]) {
        for (let t = 0; t < kernel; t++) {
          const pixel = place * stride - padding + t * dilation;
          if (pixel < 0 || pixel >= sides[i]) continue;
          paths.set(pixel, (paths.get(pixel) ?? 0n) + ways);
        }
      }
      levels.unshift(paths);
    }
    return levels;
  }

  // On a square map, or on a line of one axis: [number of valid weights,
  // outputs that have it], sorted.
  function validWeights(size, one, axes = 2) {
    const taps = new Map();
    for (let i = 0; i < outputSize(size, [one]); i++) {
      let valid = 0;
      for (let t = 0; t < one.kernel; t++) {
        const place = i * one.stride - one.padding + t * one.dilation;
        valid += place >= 0 && place < size;
      }
      taps.set(valid, (taps.get(valid) ?? 0) + 1);
    }
    const square = new Map();
    const column = axes === 1 ? [[1, 1]] : taps;
    for (const [rows, m] of column) {
      for (const [columns, n] of taps) {
        const number = rows * columns;
        square.set(number, (square.get(number) ?? 0) + exact(m * n, "map"));
      }
    }
    return [...square].sort(([a], [b]) => a - b);
  }

  // The layers that can leave holes, sorted by step: a layer's step is its
  // dilation times the strides before it, in input pixels. `field` is the
  // field of the layers sorted before it.
  function steps(stack) {
    const found = [];
    let jump = 1;
    stack.forEach(({ kernel, stride, dilation }, i) => {
      const step = exact(dilation * jump, "step");
      if (kernel > 1) found.push({ number: i + 1, step, taps: kernel - 1 });
      jump = exact(jump * stride, "jump");
    });
    found.sort((a, b) => a.step - b.step);
    let size = 1;
    for (const one of found) {
      one.field = size;
      size = exact(size + one.taps * one.step, "field");
    }
    return found;
  }

  // The exact criterion: no step exceeds the field sorted before it.
  const covers = (stack) => steps(stack).every((s) => s.step <= s.field);

  // M_1 to M_n of Wang et al.: M_n = r_n;
  // M_i = max(M_{i+1} - 2 r_i, M_{i+1} - 2 (M_{i+1} - r_i), r_i).
  function largestDistances(rates) {
    need(rates.length, "rates: one or more");
    rates.forEach((rate) => need(rate >= 1, `rate=${rate}`));
    return rates.reduceRight((found, rate) => {
      const [m] = found;
      if (m === undefined) return [rate];
      return [Math.max(m - 2 * rate, m - 2 * (m - rate), rate), ...found];
    }, []);
  }

  function publishedRule(rates, kernel = 3) {
    need(rates.length > 1, "rates: the rule is about two or more");
    return largestDistances(rates)[1] <= kernel;
  }

  // Weights and biases, every layer with `channels` in and out.
  function parameters(stack, channels, axes = 2) {
    need(Number.isSafeInteger(channels) && channels >= 1, "channels");
    const of = ({ kernel }) => kernel ** axes * channels ** 2 + channels;
    const sum = stack.reduce((before, one) => before + of(one), 0);
    return exact(sum, "parameters");
  }

  book.arithmetic = {
    layer,
    span,
    effectiveKernel,
    samePadding,
    causalPadding,
    sizes,
    outputSize,
    fields,
    field,
    receptiveField,
    usage,
    reached,
    holes,
    trace,
    validWeights,
    steps,
    covers,
    largestDistances,
    publishedRule,
    parameters,
  };
})((globalThis.atrousExplorer ??= {}));

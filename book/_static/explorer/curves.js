// The plot of valid weights: how many outputs of a layer have how many, at
// each rate.
(function (book) {
  "use strict";
  const { validWeights } = book.arithmetic;
  const { path, box, text, picture } = book.drawing;

  // For each rate up to the map's side: shares of the outputs by their number
  // of valid weights, at stride 1 and the padding that keeps the size.
  function validCurves(one, side, axes = 2) {
    const curves = new Map();
    for (let rate = 1; rate <= side; rate++) {
      const made = { ...one, stride: 1, dilation: rate, padding: 0 };
      made.padding = book.state.keepingPadding(made);
      // An even kernel's padding is rounded down, and may not do.
      const drawn = { branches: [[made]], size: side };
      if (!book.state.outputSide(drawn)) continue;
      for (const [number, count] of validWeights(side, made, axes)) {
        if (!curves.has(number)) curves.set(number, new Array(side).fill(0));
        curves.get(number)[rate - 1] = count / side ** axes;
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

  function validPlot(one, side, { width, axes = 2 }) {
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
    validCurves(one, side, axes).forEach(({ number, shares, top: most },
      i) => {
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
    return picture(0, 0, width, top + high + bottom,
      content + labels.join(""));
  }

  book.curves = { validCurves, validPlot };
})((globalThis.atrousExplorer ??= {}));

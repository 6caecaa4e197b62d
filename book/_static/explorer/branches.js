// Stacks side by side on one input, whose outputs are added or concatenated,
// as in ASPP. `branches` is an array of stacks; one alone is a stack as ever,
// and an empty one hands the input on.
(function (book) {
  "use strict";
  const math = book.arithmetic;

  // Side of the output, the same for all branches.
  function outputSize(size, branches) {
    const sides = branches.map((stack, i) => {
      try {
        return math.outputSize(size, stack);
      } catch (error) {
        const which = branches.length > 1 ? `In branch ${i + 1}: ` : "";
        throw new RangeError(which + error.message);
      }
    });
    const jumps = branches.map((stack) => math.field(stack).jump);
    for (const [all, what] of [[sides, "sides"], [jumps, "output strides"]]) {
      if (all.every((one) => one === all[0])) continue;
      throw new RangeError(
        `The branches have ${what} of ${all.join(", ")}, so their outputs ` +
          "do not lie on one another",
      );
    }
    return sides[0];
  }

  // First pixel of the field of output 0: an integer, whatever the kernels.
  const first = ({ size, start }) => start - (size - 1) / 2;

  // The smallest field that holds those of all branches; `jump` is the first
  // branch's, and outputSize() sees to it that it is the others', too.
  function field(branches) {
    const found = branches.map(math.field);
    const low = Math.min(...found.map(first));
    const size =
      Math.max(...found.map((one) => first(one) + one.size)) - low;
    return { size, jump: found[0].jump, start: low + (size - 1) / 2 };
  }

  // Paths from each pixel of that field to one output, along one axis.
  function usage(branches) {
    const whole = field(branches);
    const paths = new Array(whole.size).fill(0n);
    for (const stack of branches) {
      const offset = first(math.field(stack)) - first(whole);
      math.usage(stack).forEach((ways, i) => {
        paths[offset + i] += ways;
      });
    }
    return paths;
  }

  // Positions by the branches that have them: a Map of a number, whose bit i
  // stands for branch i, to how many positions have just those.
  function sharing(lines) {
    const masks = new Map();
    lines.forEach((line, i) => {
      for (const place of line) {
        masks.set(place, (masks.get(place) ?? 0) | (1 << i));
      }
    });
    const counts = new Map();
    for (const mask of masks.values()) {
      counts.set(mask, (counts.get(mask) ?? 0) + 1);
    }
    return counts;
  }

  // Pixels that at least one branch reads, if branch i reads those whose row
  // is in rows[i] and whose column is in columns[i].
  function together(rows, columns) {
    const across = sharing(columns);
    let sum = 0;
    for (const [mask, m] of sharing(rows)) {
      for (const [other, n] of across) sum += mask & other ? m * n : 0;
    }
    return sum;
  }

  // Pixels that any branch touches: on a line that all of them read, and in
  // the square; and the side of the field.
  function reached(branches) {
    const whole = field(branches);
    const lines = branches.map((stack) => {
      const offset = first(math.field(stack)) - first(whole);
      return math.usage(stack).flatMap((ways, i) => (ways ? offset + i : []));
    });
    return {
      line: new Set(lines.flat()).size,
      square: together(lines, lines),
      side: whole.size,
    };
  }

  // Offsets into the field of a line that no branch touches.
  const holes = (branches) =>
    usage(branches).flatMap((ways, offset) => (ways ? [] : [offset]));

  function parameters(branches, channels, axes = 2) {
    const of = (stack) => math.parameters(stack, channels, axes);
    return branches.map(of).reduce((a, b) => a + b);
  }

  // Input pixels between those of one phase, for the whole set: what divides
  // all steps of all branches, and the distance between their fields.
  function modulus(branches) {
    const gcd = (a, b) => (b ? gcd(b, a % b) : Math.abs(a));
    const start = first(math.field(branches[0]));
    return branches
      .flatMap((stack) => [
        first(math.field(stack)) - start,
        ...math.steps(stack).map(({ step }) => step),
      ])
      .reduce(gcd, 0) || 1;
  }

  book.branches = {
    outputSize,
    field,
    usage,
    together,
    reached,
    holes,
    parameters,
    modulus,
  };
})((globalThis.atrousExplorer ??= {}));

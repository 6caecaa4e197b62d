// Stacks of the papers and of the cures. code/tests/book compares each with the
// plan that the package has of it, or with the paper's own numbers.
(function (book) {
  "use strict";
  const { layer, samePadding, causalPadding } = book.arithmetic;

  // Layers of stride 1 that keep the size, one a rate.
  const rates = (list, kernel = 3) =>
    list.map((r) => layer(kernel, 1, r, samePadding(kernel, r)));

  const valid = (kernel, rate) => layer(kernel, 1, rate, 0);
  const box = (side) => layer(side, 1, 1, samePadding(side));
  const pointwise = layer(1);

  // Of a sequence: one layer a rate, and padding before it only.
  const causal = (list, kernel) => list.map((rate) => ({
    ...layer(kernel, 1, rate, causalPadding(kernel, rate)),
    causal: true,
  }));

  // 1, 2, 4 and so on: so many rates.
  const doubling = (many) => [...new Array(many).keys()].map((i) => 2 ** i);

  // The 3x3 layers of stages of a ResNet-50 at an output stride, from the
  // map before them on. A stride that is left out doubles the rate of what
  // comes after its own layer.
  function stages(outputStride, list, before) {
    let [jump, rate] = [before, 1];
    return list.flatMap(([units, stride]) => {
      const kept = jump < outputStride ? stride : 1;
      const first = layer(3, kept, rate, rate);
      jump *= kept;
      rate *= stride / kept;
      return [first, ...rates(new Array(units - 1).fill(rate))];
    });
  }

  const STAGES = [[3, 1], [4, 2], [6, 2], [3, 2]]; // units and stride
  const STEM = [layer(7, 2, 1, 3), layer(3, 2, 1, 1)];

  const YU = "Yu & Koltun 2016";
  const V2 = "DeepLab v2";
  const DRN = "Dilated Residual Networks";
  const V3 = "DeepLab v3";
  const RESNET = "ResNet-50 at an output stride";
  const HDC = "Cure: hybrid rates (HDC)";
  const BRANCHES = "Cure: parallel rates";
  const FILTERS = "Cure: a filter before the rate";
  const KERNELS = "Large kernels";
  const SEQUENCES = "Sequences";

  const MODULE = "The context module, Basic. Each layer pads by its rate.";
  const FIRST = "The context module, padded by the first layer only.";
  const TABLE_1 = "fc6 on VGG-16, one row of the paper's Table 1, with fc7 " +
    "and fc8. There the layers have 512 channels in and 4096 or 1024 out.";
  const SUMMED = "Four branches, whose scores are summed.";
  const TAIL = "The longest path, past the residual connections, on the map " +
    "of output stride 8.";
  const GRID = "The three 3x3 convolutions of block4, on its own map.";
  const ASPP = "On the map of that stride. A fifth branch, the mean of the " +
    "picture, reads all of it and is not drawn.";
  const WHOLE = "Stem and four stages: the layers of more than one tap on " +
    "the longest path.";
  const STAGED = "The 3x3 layers of res4 and res5, on the map of output " +
    "stride 8 before them.";
  const ESP = "Five branches, concatenated; fusion adds to each those of " +
    "smaller rates, from 2 on.";
  const C3 = "The channel-wise window and the 3x3 of each branch, seen " +
    "along one axis.";
  const KRONECKER = "Three branches, each a mean, then the rate: Kronecker " +
    "convolutions away from borders.";
  const SSC = "Separable and shared convolution before the rate.";

  const degridding = [2, 2, 2, 2, 4, 4, 4, 4];
  const res4 = [2, 2, 5, 9, 1, 2, 5, 9, 1, 2, 5, 9, 1, 2, 5, 9, 1, 2, 5, 9];

  const table = [
    [YU, "Figure 1: rates 1, 2, 4", 33, rates([1, 2, 4]), "Three 3x3."],
    ...[
      ["Dilation7 (KITTI)", [1, 1, 2, 4, 8, 1]],
      ["Dilation8 (CamVid)", [1, 1, 2, 4, 8, 16, 1]],
      ["Dilation10 (Cityscapes)", [1, 1, 2, 4, 8, 16, 32, 64, 1]],
    ].map(([name, list]) => [
      YU,
      `Context module, ${name}`,
      67,
      [...rates(list), pointwise],
      MODULE,
    ]),
    [
      YU,
      "Context module, Dilation8 (VOC)",
      66,
      [
        layer(3, 1, 1, 33),
        ...[1, 2, 4, 8, 16, 1].map((rate) => valid(3, rate)),
        pointwise,
      ],
      FIRST,
    ],
    [
      YU,
      "Front end from conv5_1 on",
      65,
      [valid(3, 2), valid(3, 2), valid(3, 2), valid(7, 4), valid(1, 1),
        valid(1, 1)],
      "conv5_1 to the scores, on the map of output stride 8. No padding.",
    ],
    ...[
      [7, 4],
      [4, 4],
      [4, 8],
      [3, 12],
    ].map(([kernel, rate]) => [
      V2,
      `fc6 ${kernel}x${kernel}, rate ${rate}` +
        (kernel === 3 ? " (LargeFOV)" : ""),
      41,
      [...rates([rate], kernel), pointwise, pointwise],
      TABLE_1,
    ]),
    ...[
      ["ASPP-S", [2, 4, 8, 12]],
      ["ASPP-L", [6, 12, 18, 24]],
    ].map(([name, list]) => [
      V2,
      `${name}: rates ${list.join(", ")}`,
      41,
      list.map((rate) => [...rates([rate]), pointwise, pointwise]),
      SUMMED,
    ]),
    [DRN, "C-26, levels 5 and 6", 65, rates(degridding), TAIL],
    [
      DRN,
      "C-26 with its degridding levels 7 and 8",
      65,
      rates([...degridding, 2, 2, 1, 1]),
      TAIL,
    ],
    [
      DRN,
      "D-22 with its degridding levels 7 and 8",
      65,
      rates([...degridding, 2, 1]),
      TAIL,
    ],
    ...[
      [16, [1, 1, 1]],
      [16, [1, 2, 1]],
      [16, [1, 2, 4]],
      [8, [1, 1, 1]],
      [8, [1, 2, 1]],
      [8, [1, 2, 4]],
    ].map(([stride, grid]) => [
      V3,
      `Multi-Grid (${grid.join(", ")}), output stride ${stride}`,
      stride === 16 ? 33 : 65,
      rates(grid.map((rate) => (rate * 32) / stride)),
      GRID,
    ]),
    ...[16, 8].map((stride) => [
      V3,
      `ASPP, output stride ${stride}`,
      stride === 16 ? 33 : 65,
      [
        [pointwise],
        ...[6, 12, 18].map((rate) => rates([(rate * 16) / stride])),
      ],
      ASPP,
    ]),
    ...[32, 16, 8].flatMap((stride) => [
      [
        RESNET,
        `Whole, output stride ${stride}`,
        257,
        [...STEM, ...stages(stride, STAGES, 4)],
        WHOLE,
      ],
      [
        RESNET,
        `res4 and res5, output stride ${stride}`,
        65,
        stages(stride, STAGES.slice(2), 8),
        STAGED,
      ],
    ]),
    [HDC, "1, 2, 5", 33, rates([1, 2, 5]), "The paper's good example."],
    [HDC, "1, 2, 9", 33, rates([1, 2, 9]), "The paper's bad example."],
    [HDC, "5, 9, 17: ResNet-101, res5", 81, rates([5, 9, 17]), "On its own."],
    [
      HDC,
      "ResNet-101, res4 and res5",
      65,
      rates([...res4, 1, 2, 5, 5, 9, 17]),
      "The 3x3 convolutions of 26 units in a row.",
    ],
    [
      HDC,
      "ResNet-101 before: 2 and 4",
      65,
      rates([...new Array(23).fill(2), 4, 4, 4]),
      "What the hybrid rates replace.",
    ],
    [
      BRANCHES,
      "ESPNet: rates 1, 2, 4, 8, 16",
      41,
      [1, 2, 4, 8, 16].map((rate) => rates([rate])),
      ESP,
    ],
    [
      FILTERS,
      "C3: rates 2, 3, 7, 13",
      65,
      [2, 3, 7, 13].map((rate) => [box(2 * rate - 1), ...rates([rate])]),
      C3,
    ],
    [
      FILTERS,
      "Kronecker (10, 7), (20, 15), (30, 25)",
      97,
      [
        [10, 7],
        [20, 15],
        [30, 25],
      ].map(([rate, side]) => [box(side), ...rates([rate])]),
      KRONECKER,
    ],
    ...[2, 4].map((rate) => [
      FILTERS,
      `SSC, rate ${rate}`,
      33,
      [box(2 * rate - 1), ...rates([rate])],
      SSC,
    ]),
    [
      KERNELS,
      "Large kernel attention (VAN)",
      33,
      [box(5), ...rates([3], 7), pointwise],
      "5x5, then 7x7 at rate 3: called 21 wide, the pair spans 23.",
    ],
    [
      KERNELS,
      "Large kernel attention without its 5x5",
      33,
      [...rates([3], 7), pointwise],
      "What the 5x5 is there for: without it, one phase in nine is read.",
    ],
    [
      KERNELS,
      "UniRepLKNet, 13x13",
      17,
      [
        [box(13)],
        ...[[5, 1], [7, 2], [3, 3], [3, 4], [3, 5]]
          .map(([kernel, rate]) => rates([rate], kernel)),
      ],
      "Six branches, whose sum is merged into the one 13x13 kernel.",
    ],
    [
      SEQUENCES,
      "WaveNet, its first four layers",
      32,
      causal(doubling(4), 2),
      "Two taps, one of them in the past, at rates 1, 2, 4, 8.",
      1,
    ],
    [
      SEQUENCES,
      "WaveNet, one cycle",
      1024,
      causal(doubling(10), 2),
      "Rates 1 to 512: exactly one path to each of 1,024 positions.",
      1,
    ],
    [
      SEQUENCES,
      "WaveNet, three cycles",
      3070,
      [...new Array(3)].flatMap(() => causal(doubling(10), 2)),
      "Three times 1,023 and one: 3,070, not three times 1,024.",
      1,
    ],
    [
      SEQUENCES,
      "TCN, its first two blocks",
      48,
      causal([1, 1, 2, 2], 7),
      "Seven taps, and two convolutions a block, both of its rate.",
      1,
    ],
    [
      SEQUENCES,
      "TCN, eight blocks",
      3061,
      causal(doubling(8).flatMap((rate) => [rate, rate]), 7),
      "Rates 1 to 128, two convolutions a block.",
      1,
    ],
    [
      SEQUENCES,
      "HiFi-GAN: kernels 3, 7, 11",
      151,
      [3, 7, 11].map((kernel) => rates([1, 1, 3, 1, 5, 1], kernel)),
      "Three residual blocks in parallel, each by its longest path.",
      1,
    ],
  ];

  // A stack by itself is a set of one branch.
  book.presets = table.map(([group, name, size, layers, note, axes = 2]) => {
    const branches = Array.isArray(layers[0]) ? layers : [layers];
    return { group, name, size, branches, axes, note };
  });
})((globalThis.atrousExplorer ??= {}));

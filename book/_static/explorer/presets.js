// Stacks of the papers and of the cures. code/tests/test_explorer.py compares
// each with the plan that the package has of it.
(function (book) {
  "use strict";
  const { layer, samePadding } = book.arithmetic;

  // Layers of stride 1 that keep the size, one a rate.
  const rates = (list, kernel = 3) =>
    list.map((r) => layer(kernel, 1, r, samePadding(kernel, r)));

  const valid = (kernel, rate) => layer(kernel, 1, rate, 0);
  const box = (side) => layer(side, 1, 1, samePadding(side));
  const pointwise = layer(1);

  const YU = "Yu & Koltun 2016";
  const V2 = "DeepLab v2";
  const DRN = "Dilated Residual Networks";
  const V3 = "DeepLab v3";
  const HDC = "Cure: hybrid rates (HDC)";
  const BRANCHES = "Cure: parallel rates, one branch of them";
  const FILTERS = "Cure: a filter before the rate";

  const MODULE = "The context module, Basic. Each layer pads by its rate.";
  const FIRST = "The context module, padded by the first layer only.";
  const TABLE_1 = "fc6 on VGG-16, one row of the paper's Table 1, with fc7 " +
    "and fc8. There the layers have 512 channels in and 4096 or 1024 out.";
  const BRANCH = "One of four branches; their scores are summed.";
  const TAIL = "The longest path, past the residual connections, on the map " +
    "of output stride 8.";
  const GRID = "The three 3x3 convolutions of block4, on its own map.";
  const ASPP = "One of the dilated branches, on the map of that stride.";
  const ESP = "One branch. Fusion adds those of smaller rates, from 2 on.";
  const C3 = "The channel-wise window and the 3x3 of one branch, seen along " +
    "one axis.";
  const KRONECKER = "A mean, then the rate: the Kronecker convolution " +
    "away from borders.";
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
    ...[2, 4, 8, 12].map((rate) => [
      V2,
      `ASPP-S, branch of rate ${rate}`,
      41,
      [...rates([rate]), pointwise, pointwise],
      BRANCH,
    ]),
    ...[6, 12, 18, 24].map((rate) => [
      V2,
      `ASPP-L, branch of rate ${rate}`,
      41,
      [...rates([rate]), pointwise, pointwise],
      BRANCH,
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
    ...[16, 8].flatMap((stride) =>
      [6, 12, 18].map((rate) => [
        V3,
        `ASPP, rate ${(rate * 16) / stride}, output stride ${stride}`,
        stride === 16 ? 33 : 65,
        rates([(rate * 16) / stride]),
        ASPP,
      ]),
    ),
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
    ...[2, 4, 8, 16].map((rate) => [
      BRANCHES,
      `ESPNet, rate ${rate}`,
      41,
      rates([rate]),
      ESP,
    ]),
    ...[2, 3, 7, 13].map((rate) => [
      FILTERS,
      `C3, rate ${rate}`,
      65,
      [box(2 * rate - 1), ...rates([rate])],
      C3,
    ]),
    ...[
      [10, 7],
      [20, 15],
      [30, 25],
    ].map(([rate, side]) => [
      FILTERS,
      `Kronecker (${rate}, ${side})`,
      97,
      [box(side), ...rates([rate])],
      KRONECKER,
    ]),
    ...[2, 4].map((rate) => [
      FILTERS,
      `SSC, rate ${rate}`,
      33,
      [box(2 * rate - 1), ...rates([rate])],
      SSC,
    ]),
  ];

  book.presets = table.map(([group, name, size, layers, note]) => ({
    group,
    name,
    size,
    layers,
    note,
  }));
})((globalThis.atrousExplorer ??= {}));

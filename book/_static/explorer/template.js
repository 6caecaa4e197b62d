// What stands in the page before a state is shown: the controls, and the
// places for pictures and words. `data-key` is what a control changes,
// `data-do` what a button does, `data-out` what a place is filled with.
(function (book) {
  "use strict";
  const { LIMITS } = book.state;
  const NUMBERS = {
    kernel: "Kernel",
    stride: "Stride",
    dilation: "Rate",
    padding: "Padding",
  };
  const FORMS = {
    image: "an image",
    sequence: "a sequence",
    causal: "a sequence, padded before only",
  };
  const PACES = [2, 8, 30]; // outputs a second
  const USUAL_PACE = 8;

  const number = (id, key, label, [low, high], more = "") => `
    <label for="${id}"><span data-name="${key}">${label}</span>
      <input id="${id}" type="number" inputmode="numeric" data-key="${key}"
        min="${low}" max="${high}" step="1" required ${more}></label>`;

  const options = (names) => Object.entries(names).map(([value, name]) =>
    `<option value="${value}">${name}</option>`).join("");

  // The pages of small explorers do not load the presets.
  function presetList() {
    const groups = new Map();
    (book.presets ?? []).forEach(({ group, name }, i) => {
      const option = `<option value="${i}">${name}</option>`;
      groups.set(group, (groups.get(group) ?? "") + option);
    });
    return [...groups].map(([group, list]) =>
      `<optgroup label="${group}">${list}</optgroup>`).join("");
  }

  const layersPart = (id, title) => `
<div class="explorer-part" data-part="layers">
  <${title} class="title" id="${id}-layers">Layers</${title}>
  <div class="fields">
    <label class="wide" for="${id}-preset">Start from
      <select id="${id}-preset" data-key="preset">
        <option value="-1" disabled>a stack of your own</option>${presetList()}
      </select></label>
    <label class="wide" for="${id}-form">Input
      <select id="${id}-form" data-key="form">
        ${options(FORMS)}</select></label>
    ${number(`${id}-size`, "size", "Input side", LIMITS.size)}
    ${number(`${id}-channels`, "channels", "Channels", LIMITS.channels)}
  </div>
  <p class="note" data-out="note"></p>
  <div class="branches" data-out="branches">
    <label for="${id}-branch">Branch
      <select id="${id}-branch" data-key="branch"></select></label>
    <button type="button" data-do="drop">Remove this branch</button>
  </div>
  <ol class="stack" data-out="stack" aria-labelledby="${id}-layers"></ol>
  <button type="button" data-do="add">Add a layer</button>
  <button type="button" data-do="fork">Add a branch</button>
</div>`;

  const walk = (id) => `
  <div class="walk">
    <div class="output" data-out="frame">Output
      <div data-out="output" role="img"></div></div>
    <div class="steer">
      <label for="${id}-row" data-out="rows"><span>Output row
        <span data-out="row"></span></span>
        <input id="${id}-row" type="range" data-key="row" min="0"></label>
      <label for="${id}-column"><span><span
        data-out="column-name">Output column</span>
        <span data-out="column"></span></span>
        <input id="${id}-column" type="range" data-key="column"
          min="0"></label>
    </div>
    <div class="pace">
      <button type="button" data-do="play">Play</button>
      <button type="button" data-do="step">Step</button>
      <label for="${id}-pace" data-out="pace"><span class="spoken">Speed</span>
        <select id="${id}-pace" data-key="pace">${PACES.map((pace) =>
          `<option value="${pace}"${pace === USUAL_PACE ? " selected" : ""}>` +
          `${pace} outputs a second</option>`).join("")}</select></label>
    </div>
  </div>`;

  const mapPart = (id, title) => `
<div class="explorer-part" data-part="map">
  <${title} class="title">What one output reads</${title}>
  <div class="fields">
    <label for="${id}-show">Colour by
      <select id="${id}-show" data-key="show">
        <option value="paths">number of paths</option>
        <option value="phases">phase</option>
        <option value="branches">branch</option>
      </select></label>
    <label for="${id}-phase">Phases of
      <select id="${id}-phase" data-key="phase"></select></label>
  </div>${walk(id)}
  <div class="map" data-out="map" tabindex="0" role="application"
    aria-roledescription="map" aria-describedby="${id}-keys"></div>
  <p class="note" id="${id}-keys">Point at the map, or focus it and use the
    arrow keys, Home for the first and End for the last output. <span
    data-out="motion"></span></p>
  <ul class="key" data-out="key"></ul>
  <dl class="facts" data-out="facts"></dl>
</div>`;

  const rulesPart = (title) => `
<div class="explorer-part" data-part="rules">
  <${title} class="title">Are there holes?</${title}>
  <p class="note" data-out="which"></p>
  <table><caption>The exact criterion: layers of two or more taps, sorted by
    their step, the rate times the strides before it. No step may exceed the
    field of the layers above it.</caption>
    <thead><tr><th scope="col">Layer</th><th scope="col">Step</th>
      <th scope="col">Field before</th><th scope="col">Holds</th></tr></thead>
    <tbody data-out="steps"></tbody></table>
  <p><strong>Exactly:</strong> <span data-out="truth"></span></p>
  <p><strong>The published rule:</strong> <span data-out="rule"></span></p>
</div>`;

  const validPart = (id, title) => `
<div class="explorer-part" data-part="valid">
  <${title} class="title">Valid weights</${title}>
  <div class="fields">
    <label for="${id}-layer">Layer
      <select id="${id}-layer" data-key="layer"></select></label>
    ${number(`${id}-map`, "map", "Side of its map", LIMITS.map)}
  </div>
  <p data-out="valid"></p>
  <div data-out="curves" role="img"></div>
  <p class="note">Curves: share of the outputs with so many valid weights, for
    this kernel at each rate, at stride 1 and the padding that keeps the size;
    at most six, those that rise highest. The dotted line is the layer's
    rate.</p>
</div>`;

  // Beside a chapter's headings those of a small one would be in the way.
  const page = (id, title) => `
<p class="problem" role="alert" data-out="problem" hidden></p>
${layersPart(id, title)}${mapPart(id, title)}
<div class="explorer-part" data-part="section">
  <${title} class="title" data-out="section-name"></${title}>
  <div data-out="section" role="img"></div>
</div>${rulesPart(title)}${validPart(id, title)}
<p class="spoken" role="status" aria-live="polite" data-out="spoken"></p>`;

  const row = (id, i) => `
<li><fieldset><legend>Layer ${i + 1}</legend>
  <div class="fields">${Object.entries(NUMBERS).map(([key, label]) =>
    number(`${id}-${key}-${i}`, key, label, LIMITS[key],
      `data-layer="${i}"`)).join("")}</div>
  <div class="foot"><p class="note" data-out="layer-${i}"></p>
  <div class="moves">
    ${[["up", "↑", "up"], ["down", "↓", "down"], ["remove", "×", ""]]
      .map(([does, sign, way]) => `<button type="button" data-do="${does}"
        data-layer="${i}" aria-label="${way ? `Move layer ${i + 1} ${way}`
          : `Remove layer ${i + 1}`}">${sign}</button>`).join("")}
  </div></div></fieldset></li>`;

  const swatch = (content, words, box = "0 0 1 1") =>
    `<li><svg class="picture" viewBox="${box}" aria-hidden="true">` +
    `${content}</svg>${words}</li>`;

  // What the colours and signs of the map mean.
  function key(now) {
    const all = "M0 0h1v1h-1z";
    const { path, sign, SHADE_LEVELS } = book.drawing;
    const chosen = swatch(
      path("paper", all) + path("chosen", "M.1 .5h.8M.5 .1v.8"),
      book.state.form(now) === "causal"
        ? "the chosen output" : "centre of the chosen output",
    );
    const field = swatch(
      path("paper", all) + path("field", "M.1 .1h.8v.8h-.8z"),
      "its receptive field",
    );
    const beyond = swatch(path("beyond", all), "padding");
    if (now.show === "branches") {
      return now.branches.map((layers, i) => swatch(
        path("paper", "M-2 -2h4v4h-4z") + sign(i, 0, 0, 1.2) +
          path(`outline outline-${i}`, "M-2 1.9h4"),
        `${i + 1}: ${book.words.branchName(layers, now.axes)}`,
        "-2 -2 4 4",
      )).join("") + swatch(path("shared", all), "of several branches") +
        chosen + beyond;
    }
    if (now.show === "phases") {
      return swatch(path("paper", all) + path("full phase-0", all) +
        path("dot", "M.3 .3h.4v.4h-.4z"), "read, in the colour of its phase") +
        swatch(path("paper", all) + path("pale phase-0", all), "not read") +
        field + chosen + beyond;
    }
    const few = [...new Array(SHADE_LEVELS).keys()].map((i) => path(
      `shade-${i}`,
      `M${i / SHADE_LEVELS} 0h${1 / SHADE_LEVELS}v1h${-1 / SHADE_LEVELS}z`,
    ));
    return swatch(few.join(""), "from few paths to many") +
      swatch(path("hole", all) +
        path("hatch", "M0 .3L.3 0M0 .7L.7 0M.1 1L1 .1M.5 1L1 .5"),
      "not reached") + field + chosen + beyond;
  }

  book.template = { USUAL_PACE, page, row, key };
})((globalThis.atrousExplorer ??= {}));

// The page: controls, pictures and words for one state, which lives in the
// address. <div class="explorer" data-address> is the whole explorer;
// <div class="explorer" data-state="layers=k3-k3r2&size=17"> keeps its state
// to itself, and data-parts="map section" says which parts to show.
(function (book) {
  "use strict";
  const { LIMITS, MOST_LAYERS, START } = book.state;
  const NUMBERS = {
    kernel: "Kernel",
    stride: "Stride",
    dilation: "Rate",
    padding: "Padding",
  };
  const PARTS = ["layers", "map", "section", "rules", "valid"];
  const WAIT = 200; // ms before an address is written
  const PAUSE = 700; // ms before a change is read out
  let instances = 0;

  const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
  // Some stacks are in two papers: the one that was picked goes first.
  const preset = ({ layers }, picked) =>
    [picked, ...book.presets.keys()].find((i) =>
      same(book.presets[i]?.layers, layers)) ?? -1;

  const number = (id, key, label, [low, high], more = "") => `
    <label for="${id}">${label}
      <input id="${id}" type="number" inputmode="numeric" data-key="${key}"
        min="${low}" max="${high}" step="1" required ${more}></label>`;

  function presetList() {
    const groups = new Map();
    book.presets.forEach(({ group, name }, i) => {
      const option = `<option value="${i}">${name}</option>`;
      groups.set(group, (groups.get(group) ?? "") + option);
    });
    return [...groups].map(([group, options]) =>
      `<optgroup label="${group}">${options}</optgroup>`).join("");
  }

  // Beside a chapter's headings those of a small one would be in the way.
  const template = (id, title) => `
<p class="problem" role="alert" data-out="problem" hidden></p>
<div class="explorer-part" data-part="layers">
  <${title} class="title" id="${id}-layers">Layers</${title}>
  <div class="fields">
    <label class="wide" for="${id}-preset">Start from
      <select id="${id}-preset" data-key="preset">
        <option value="-1" disabled>a stack of your own</option>${presetList()}
      </select></label>
    ${number(`${id}-size`, "size", "Input side", LIMITS.size)}
    ${number(`${id}-channels`, "channels", "Channels", LIMITS.channels)}
  </div>
  <p class="note" data-out="note"></p>
  <ol class="stack" data-out="stack" aria-labelledby="${id}-layers"></ol>
  <button type="button" data-do="add">Add a layer</button>
</div>
<div class="explorer-part" data-part="map">
  <${title} class="title">What one output reads</${title}>
  <div class="fields">
    <label for="${id}-show">Colour by
      <select id="${id}-show" data-key="show">
        <option value="paths">number of paths</option>
        <option value="phases">phase</option>
      </select></label>
    <label for="${id}-phase">Phases of
      <select id="${id}-phase" data-key="phase"></select></label>
  </div>
  <div class="fields">
    <label for="${id}-row"><span>Output row
      <span data-out="row"></span></span>
      <input id="${id}-row" type="range" data-key="row" min="0"></label>
    <label for="${id}-column"><span>Output column
      <span data-out="column"></span></span>
      <input id="${id}-column" type="range" data-key="column" min="0"></label>
  </div>
  <div class="map" data-out="map" tabindex="0" role="application"
    aria-roledescription="map" aria-describedby="${id}-keys"></div>
  <p class="note" id="${id}-keys">Point at the map, or focus it and use the
    arrow keys, Home for the first and End for the last output.</p>
  <ul class="key" data-out="key"></ul>
  <dl class="facts" data-out="facts"></dl>
</div>
<div class="explorer-part" data-part="section">
  <${title} class="title">Along the row of that output</${title}>
  <div data-out="section" role="img"></div>
</div>
<div class="explorer-part" data-part="rules">
  <${title} class="title">Are there holes?</${title}>
  <table><caption>The exact criterion: layers of two or more taps, sorted by
    their step, the rate times the strides before it. No step may exceed the
    field of the layers above it.</caption>
    <thead><tr><th scope="col">Layer</th><th scope="col">Step</th>
      <th scope="col">Field before</th><th scope="col">Holds</th></tr></thead>
    <tbody data-out="steps"></tbody></table>
  <p><strong>Exactly:</strong> <span data-out="truth"></span></p>
  <p><strong>The published rule:</strong> <span data-out="rule"></span></p>
</div>
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
</div>
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

  function mount(host) {
    const id = `explorer-${++instances}`;
    const addressed = host.hasAttribute("data-address");
    host.innerHTML = template(id, addressed ? "h2" : "p");
    if (!addressed) {
      host.setAttribute("role", "group");
      host.setAttribute("aria-label", `Explorer ${instances}`);
    }
    const parts = host.dataset.parts?.split(" ") ?? PARTS;
    for (const part of host.querySelectorAll("[data-part]")) {
      part.hidden = !parts.includes(part.dataset.part);
    }
    const out = (name) => host.querySelector(`[data-out="${name}"]`);
    const control = (key) => host.querySelector(`[data-key="${key}"]`);
    let state = START;
    let written = ""; // the state in the address; null where there is none
    let last = null; // what was changed last
    let said = null; // facts as last read out
    let picked = -1; // the preset last chosen
    let fresh = false; // whether the next address is a new entry
    const timers = {};

    const later = (name, wait, act) => {
      clearTimeout(timers[name]);
      timers[name] = setTimeout(act, wait);
    };

    const set = (element, html) => {
      if (element.innerHTML !== html) element.innerHTML = html;
    };

    // An invalid entry stays in its input until it is mended or left.
    function put(input, value, forced) {
      const editing = input === document.activeElement && !forced;
      if (!editing && input.value !== `${value}`) input.value = value;
      if (Number(input.value) === Number(value)) {
        input.removeAttribute("aria-invalid");
      }
    }

    function showLayers(forced) {
      const { layers } = state;
      const list = out("stack");
      while (list.children.length > layers.length) list.lastChild.remove();
      while (list.children.length < layers.length) {
        list.insertAdjacentHTML("beforeend", row(id, list.children.length));
      }
      const found = book.arithmetic.fields(layers);
      let sides = [];
      try {
        sides = book.arithmetic.sizes(state.size, layers);
      } catch {
        // The first fact says why.
      }
      layers.forEach((one, i) => {
        for (const input of list.children[i].querySelectorAll("input")) {
          put(input, one[input.dataset.key], forced);
        }
        const { size, jump, start } = found[i];
        const weights = book.arithmetic.parameters([one], state.channels);
        out(`layer-${i}`).textContent =
          `${sides[i] ? `output ${sides[i]}, ` : ""}field ${size}, ` +
          `jump ${jump}, start ${start}, ` +
          `${weights.toLocaleString("en")} parameters`;
        const [up, down] = list.children[i].querySelectorAll("button");
        up.disabled = i === 0;
        down.disabled = i === layers.length - 1;
      });
      host.querySelector('[data-do="add"]').disabled =
        layers.length >= MOST_LAYERS;
    }

    function showControls(now, forced) {
      const index = preset(state, picked);
      put(control("preset"), index, true);
      out("note").textContent = index < 0 ? "" : book.presets[index].note;
      for (const key of ["size", "channels", "map"]) {
        put(control(key), state[key], forced);
      }
      set(control("phase"), '<option value="0">the whole stack</option>' +
        state.layers.map((_, i) =>
          `<option value="${i + 1}">layer ${i + 1}</option>`).join(""));
      set(control("layer"), state.layers.map((one, i) =>
        `<option value="${i + 1}">${i + 1}: ` +
        `${book.drawing.describe(one)}</option>`).join(""));
      for (const key of ["show", "phase", "layer"]) {
        put(control(key), state[key], true);
      }
      const side = book.state.outputSide(state);
      ["row", "column"].forEach((key, axis) => {
        control(key).max = Math.max(0, side - 1);
        control(key).disabled = !side;
        put(control(key), now.at?.[axis] ?? 0, true);
        out(key).textContent = now.at?.[axis] ?? "none";
      });
    }

    const swatch = (kinds, words) =>
      `<li><svg class="picture" viewBox="0 0 1 1" aria-hidden="true">${kinds
        .map(([kind, d]) => `<path class="${kind}" d="${d}"/>`)
        .join("")}</svg>${words}</li>`;

    function key(now) {
      const all = "M0 0h1v1h-1z";
      const chosen = swatch(
        [["paper", all], ["chosen", "M.1 .5h.8M.5 .1v.8"]],
        "centre of the chosen output",
      );
      const field = swatch(
        [["paper", all], ["field", "M.1 .1h.8v.8h-.8z"]],
        "its receptive field",
      );
      const beyond = swatch([["beyond", all]], "padding");
      if (now.show === "phases") {
        return swatch([["paper", all], ["full phase-0", all],
          ["dot", "M.3 .3h.4v.4h-.4z"]], "read, in the colour of its phase") +
          swatch([["paper", all], ["pale phase-0", all]], "not read") +
          field + chosen + beyond;
      }
      const many = book.drawing.SHADE_LEVELS;
      const few = [...new Array(many).keys()].map((i) =>
        [`shade-${i}`, `M${i / many} 0h${1 / many}v1h${-1 / many}z`]);
      return swatch(few, "from few paths to many") +
        swatch([["hole", all],
          ["hatch", "M0 .3L.3 0M0 .7L.7 0M.1 1L1 .1M.5 1L1 .5"]],
        "not reached") + field + chosen + beyond;
    }

    function showPictures(now) {
      const { size } = book.arithmetic.field(now.layers);
      const drawable = now.at && size <= book.words.MOST_FIELD;
      const none = now.at
        ? "The field is too large to draw." : "There is no output to draw.";
      const width = (name) => Math.max(240, out(name).clientWidth);
      const modulus = book.words.modulus(now);
      const facts = book.words.facts(now);
      set(out("map"), drawable
        ? book.drawing.map(now, { width: width("map"), modulus, prefix: id })
        : none);
      set(out("section"), drawable
        ? book.drawing.section(now, { width: width("section") }) : none);
      out("map").setAttribute("aria-label",
        `Input map, ${now.size} by ${now.size}. ` +
          (facts.chosen?.[1] ?? none));
      out("section").setAttribute("aria-label", drawable
        ? `The ${now.layers.length} layers from the side: lines lead from ` +
          "the chosen output down to the inputs that it reads." : none);
      set(out("key"), key(now));
      set(out("facts"), Object.values(facts).map(([name, words]) =>
        `<div><dt>${name}</dt><dd>${words}</dd></div>`).join(""));
      return facts;
    }

    function showRules() {
      const { layers } = state;
      set(out("steps"), book.arithmetic.steps(layers).map((one) =>
        `<tr><td>${one.number}</td><td>${one.step}</td>` +
        `<td>${one.field}</td>` +
        `<td>${one.step <= one.field ? "yes" : "no"}</td></tr>`).join(""));
      const { truth, rule } = book.words.rule(layers);
      out("truth").textContent = truth;
      out("rule").textContent = rule;
      return {
        truth: ["Exactly", truth],
        rule: ["The published rule", rule],
      };
    }

    function showValid() {
      const one = state.layers[state.layer - 1];
      const words = book.words.valid(state);
      out("valid").textContent = words;
      out("curves").setAttribute("aria-label", words);
      set(out("curves"), one ? book.drawing.validPlot(one, state.map, {
        width: Math.max(240, out("curves").clientWidth),
      }) : "");
      return { valid: ["Valid weights", words] };
    }

    // Read out what a change has changed of the parts that are shown.
    function speak(known) {
      const facts = {};
      for (const [part, found] of Object.entries(known)) {
        if (parts.includes(part)) Object.assign(facts, found);
      }
      said ??= facts;
      later("speak", PAUSE, () => {
        const news = Object.keys(facts).filter((name) =>
          !same(said[name], facts[name]));
        if (news.length) {
          out("spoken").textContent = news.map((name) =>
            facts[name].join(": ")).join(". ");
        }
        said = facts;
      });
    }

    function show({ forced = false } = {}) {
      const now = book.state.chosen(state);
      showLayers(forced);
      showControls(now, forced);
      const map = showPictures(now);
      speak({ map, rules: showRules(), valid: showValid() });
    }

    // A new entry in the history for each new kind of change; a slider that
    // is dragged, or a cursor that walks, replaces its own, and a heading's,
    // to which one could not go back, is replaced.
    function write(kind) {
      if (!addressed) return;
      fresh ||= kind === null || kind !== last;
      last = kind;
      later("write", WAIT, () => {
        const text = book.state.format(state);
        if (text === written) return;
        const heading = written === null;
        written = text;
        if (fresh && !heading) location.hash = text;
        else location.replace(`#${text}`);
        fresh = false;
      });
    }

    function problem(words) {
      out("problem").textContent = words;
      out("problem").hidden = !words;
    }

    // Show another state; one with a number beyond 2^53 is refused in words.
    function become(next, { forced, words = "" }) {
      const before = state;
      state = next;
      try {
        show({ forced });
      } catch (error) {
        state = before;
        show({ forced: true });
        problem(`${error.message}; nothing was changed.`);
        return false;
      }
      problem(words);
      return true;
    }

    function change(changes, kind = null) {
      const next = book.state.settle({ ...state, ...changes });
      if (become(next, { forced: kind === null })) write(kind);
    }

    function read() {
      const text = location.hash.slice(1);
      if (text && !text.includes("=")) {
        written = null; // a heading of this page, which is no state
        return;
      }
      if (text === written) return;
      clearTimeout(timers.write);
      [written, last] = [text, null];
      const found = book.state.parse(text);
      become(found.state, { forced: true, words: found.problems.join(" ") });
    }

    const edited = (layers, i, key, value) => layers.map((one, j) => {
      if (i !== j) return one;
      const made = { ...one, [key]: value };
      // Padding that kept the size goes on keeping it.
      const kept = one.padding === book.state.keepingPadding(one);
      if (key !== "padding" && kept) {
        made.padding = book.state.keepingPadding(made);
      }
      return made;
    });

    host.addEventListener("input", ({ target }) => {
      const { key, layer } = target.dataset;
      const value = target.value === "" ? NaN : Number(target.value);
      if (key === "preset") {
        const one = book.presets[value];
        if (!one) return;
        picked = value;
        const rates = one.layers.map(({ dilation }) => dilation);
        const layer = rates.indexOf(Math.max(...rates)) + 1;
        const { layers, size } = one;
        change({ layers, size, layer, at: null, phase: 0 });
      } else if (key === "show") {
        change({ show: target.value });
      } else if (key === "row" || key === "column") {
        const at = [...book.state.chosen(state).at];
        at[key === "row" ? 0 : 1] = value;
        change({ at }, "at");
      } else if (key === "phase" || key === "layer") {
        change({ [key]: value });
      } else if (!book.state.within(key, value)) {
        const name = target.labels[0].textContent.trim();
        target.setAttribute("aria-invalid", "true");
        problem(`${layer ? `Layer ${+layer + 1}, ` : ""}${name}: a whole ` +
          `number from ${target.min} to ${target.max} is possible.`);
      } else if (layer) {
        change({ layers: edited(state.layers, +layer, key, value) },
          key + layer);
      } else {
        change({ [key]: value }, key);
      }
    });

    // What was entered wrongly and left goes back to what is shown, but not
    // before a click that took the focus has met its button.
    host.addEventListener("focusout", ({ target }) => {
      if (!target.matches("[aria-invalid]")) return;
      const mend = () => setTimeout(() => {
        problem("");
        show();
      }, 0);
      const pressed = document.documentElement.matches(":active");
      if (pressed) addEventListener("pointerup", mend, { once: true });
      else mend();
    });

    host.addEventListener("click", ({ target }) => {
      const button = target.closest("[data-do]");
      if (!button) return;
      const i = Number(button.dataset.layer);
      const layers = [...state.layers];
      let focus = i;
      if (button.dataset.do === "add") {
        layers.push(layers.at(-1) ?? book.arithmetic.layer(3, 1, 1, 1));
        focus = layers.length - 1;
      } else if (button.dataset.do === "remove") {
        layers.splice(i, 1);
        focus = Math.min(i, layers.length - 1);
      } else {
        focus = button.dataset.do === "up" ? i - 1 : i + 1;
        [layers[i], layers[focus]] = [layers[focus], layers[i]];
      }
      change({ layers });
      if (button.dataset.do === "add" && !button.disabled) return;
      // The focus goes with the layer, so that it can be moved on.
      const next = [button.dataset.do, "remove", "up", "down", "remove"]
        .map((does) => host.querySelector(
          `[data-do="${does}"][data-layer="${focus}"]:not(:disabled)`))
        .find(Boolean);
      (next ?? host.querySelector('[data-do="add"]')).focus();
    });

    out("map").addEventListener("keydown", (event) => {
      const { at } = book.state.chosen(state);
      const most = book.state.outputSide(state) - 1;
      const go = {
        ArrowUp: ([y, x]) => [y - 1, x],
        ArrowDown: ([y, x]) => [y + 1, x],
        ArrowLeft: ([y, x]) => [y, x - 1],
        ArrowRight: ([y, x]) => [y, x + 1],
        Home: () => [0, 0],
        End: () => [most, most],
      }[event.key];
      const plain = !event.altKey && !event.ctrlKey && !event.metaKey;
      if (!go || !at || !plain) return;
      event.preventDefault();
      event.stopPropagation();
      const bound = (i) => Math.max(0, Math.min(most, i));
      change({ at: go(at).map(bound) }, "at");
    });

    function point(event) {
      const picture = out("map").querySelector("svg");
      const side = book.state.outputSide(state);
      if (!picture || !side) return;
      const { low, high } = book.drawing.view(state);
      const { start, jump } = book.arithmetic.field(state.layers);
      const { left, top, width } = picture.getBoundingClientRect();
      const scale = (high - low) / width;
      const nearest = (offset) => {
        const pixel = low + offset * scale - 0.5;
        const index = Math.round((pixel - start) / jump);
        return Math.max(0, Math.min(side - 1, index));
      };
      const at = [nearest(event.clientY - top), nearest(event.clientX - left)];
      if (!same(at, book.state.chosen(state).at)) change({ at }, "at");
    }
    // A finger may be about to scroll, and only a tap of it is a click.
    for (const kind of ["pointerdown", "pointermove"]) {
      out("map").addEventListener(kind, (event) => {
        if (event.buttons === 1 && event.pointerType === "mouse") point(event);
      });
    }
    out("map").addEventListener("click", point);

    if (addressed) {
      show();
      addEventListener("hashchange", read);
      read();
    } else {
      become(book.state.parse(host.dataset.state).state, { forced: true });
    }
    let known = host.clientWidth;
    new ResizeObserver(() => {
      if (host.clientWidth === known) return;
      known = host.clientWidth;
      show();
    }).observe(host);
  }

  // Small ones wait until they are near: a page is read before its middle.
  const near = new IntersectionObserver((entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      mount(target);
    }
  }, { rootMargin: "100%" });
  for (const host of document.querySelectorAll("div.explorer")) {
    if (host.hasAttribute("data-address")) mount(host);
    else near.observe(host);
  }
})((globalThis.atrousExplorer ??= {}));

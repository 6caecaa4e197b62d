// Fills the page: controls, pictures and words of one state.
(function (book) {
  "use strict";
  const { MOST_BRANCHES, MOST_LAYERS, layersOf } = book.state;
  const presets = book.presets ?? []; // of the whole explorer only

  const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
  // Some stacks are in two papers: the one that was picked goes first.
  const preset = ({ branches, axes }, picked) =>
    [picked, ...presets.keys()].find((i) =>
      same(presets[i]?.branches, branches) && presets[i].axes === axes) ??
    -1;

  // `parts` are those of the host that are seen. The page is filled by
  // show(state, how), where `how` says whether entries that are being edited
  // are overwritten (`forced`), whether the output alone has moved (`moving`),
  // with which output playing began (`from`), whether it still plays
  // (`playing`) or may not (`still`), and which preset was `picked`.
  function view(host, { id, parts }) {
    const out = (name) => host.querySelector(`[data-out="${name}"]`);
    const control = (key) => host.querySelector(`[data-key="${key}"]`);
    const button = (does) => host.querySelector(`[data-do="${does}"]`);

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

    const name = (key, words) => {
      host.querySelector(`[data-name="${key}"]`).textContent = words;
    };

    function showLayers(state, forced) {
      const layers = layersOf(state);
      const { axes, channels } = state;
      const list = out("stack");
      while (list.children.length > layers.length) list.lastChild.remove();
      while (list.children.length < layers.length) {
        list.insertAdjacentHTML("beforeend",
          book.template.row(id, list.children.length));
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
        const weights = book.arithmetic.parameters([one], channels, axes);
        out(`layer-${i}`).textContent =
          `${sides[i] ? `output ${sides[i]}, ` : ""}field ${size}, ` +
          `jump ${jump}, start ${start}, ` +
          `${weights.toLocaleString("en")} parameters`;
        const [up, down] = list.children[i].querySelectorAll("button");
        up.disabled = i === 0;
        down.disabled = i === layers.length - 1;
      });
      button("add").disabled = layers.length >= MOST_LAYERS;
      button("fork").disabled = state.branches.length >= MOST_BRANCHES;
    }

    function showBranches(state) {
      const { branches, branch, axes } = state;
      const several = branches.length > 1;
      out("branches").hidden = !several;
      set(control("branch"), branches.map((layers, i) =>
        `<option value="${i + 1}">${i + 1}: ` +
        `${book.words.branchName(layers, axes)}</option>`).join(""));
      put(control("branch"), branch, true);
      control("show").querySelector('[value="branches"]').hidden = !several;
      out("which").hidden = !several;
      out("which").textContent = `Of branch ${branch}. What all branches ` +
        "together leave out stands with the map.";
    }

    function showControls(state, { forced, picked }) {
      const index = preset(state, picked);
      put(control("preset"), index, true);
      out("note").textContent = index < 0 ? "" : presets[index].note;
      for (const key of ["size", "channels", "map"]) {
        put(control(key), state[key], forced);
      }
      const line = state.axes === 1;
      put(control("form"), book.state.form(state), true);
      [control("size").min, control("size").max] =
        book.state.sizeLimits(state.axes);
      name("size", line ? "Input length" : "Input side");
      name("map", line ? "Length of its input" : "Side of its map");
      out("section-name").textContent = line
        ? "From that output down to the input"
        : "Along the row of that output";
      set(control("phase"), `<option value="0">${
        state.branches.length > 1 ? "all branches" : "the whole stack"
      }</option>` +
        layersOf(state).map((_, i) =>
          `<option value="${i + 1}">layer ${i + 1}</option>`).join(""));
      set(control("layer"), layersOf(state).map((one, i) =>
        `<option value="${i + 1}">${i + 1}: ` +
        `${book.words.describe(one, state.axes)}</option>`).join(""));
      for (const key of ["show", "phase", "layer"]) {
        put(control(key), state[key], true);
      }
    }

    // Where the chosen output is: the sliders, and whether it goes on.
    function showPlace(now, { playing, still }) {
      const side = book.state.outputSide(now);
      const line = now.axes === 1;
      out("rows").hidden = line;
      out("column-name").textContent = line ? "Output" : "Output column";
      [["row", line ? null : now.at?.[0]], ["column", now.at?.at(-1)]]
        .forEach(([key, place]) => {
          control(key).max = Math.max(0, side - 1);
          control(key).disabled = !side;
          put(control(key), place ?? 0, true);
          out(key).textContent = place ?? "none";
        });
      button("play").hidden = out("pace").hidden = still;
      button("play").disabled = button("step").disabled = !side;
      button("play").textContent = playing ? "Pause" : "Play";
      out("motion").textContent = still
        ? "Nothing plays, because less motion is asked for: Step goes on."
        : "The space bar plays and pauses.";
    }

    function showPictures(now, from) {
      const { size } = book.branches.field(now.branches);
      const drawable = now.at && size <= book.words.MOST_FIELD;
      const none = now.at
        ? "The field is too large to draw." : "There is no output to draw.";
      const width = (key) => Math.max(100, out(key).clientWidth);
      const modulus = book.words.modulus(now);
      const draw = {
        map: () => book.drawing.map(now,
          { width: width("map"), modulus, prefix: id }),
        output: () => book.output.output(now,
          { width: width("output"), modulus, from, prefix: id }),
        section: () => book.section.section(now,
          { width: width("section"), from }),
      };
      out("frame").classList.toggle("line", now.axes === 1);
      for (const [key, picture] of Object.entries(draw)) {
        if (parts.includes(key) || key === "output") {
          set(out(key), drawable ? picture() : key === "output" ? "" : none);
        }
      }
      return drawable ? "" : none;
    }

    // A screen reader is told of the pictures when they have come to rest.
    function namePictures(now, facts, none, playing) {
      const many = now.axes === 1 ? now.size : `${now.size} by ${now.size}`;
      const where = now.at ? book.words.where(now) : none;
      const rest = playing ? "It plays, output by output."
        : facts.chosen?.[1] ?? none;
      out("map").setAttribute("aria-label", `Input map, ${many}. ${rest}`);
      out("output").setAttribute("aria-label", playing
        ? "Output map, filled as it plays." : `Output map: ${where}.`);
      const count = now.branches.length;
      const layers = layersOf(now).length;
      const what = count > 1 ? `${count} branches` : `${layers} layers`;
      out("section").setAttribute("aria-label", none ||
        `The ${what} from the side: lines lead from the chosen output ` +
          "down to the inputs that it reads.");
    }

    function showMap(now, { from, playing }) {
      const none = showPictures(now, from);
      const facts = book.words.facts(now);
      set(out("facts"), Object.values(facts).map(([label, words]) =>
        `<div><dt>${label}</dt><dd>${words}</dd></div>`).join(""));
      namePictures(now, facts, none, playing);
      return facts;
    }

    function showRules(state) {
      const layers = layersOf(state);
      set(out("steps"), book.arithmetic.steps(layers).map((one) =>
        `<tr><td>${one.number}</td><td>${one.step}</td>` +
        `<td>${one.field}</td>` +
        `<td>${one.step <= one.field ? "yes" : "no"}</td></tr>`).join(""));
      const { truth, rule } = book.words.rule(state);
      out("truth").textContent = truth;
      out("rule").textContent = rule;
      return {
        truth: ["Exactly", truth],
        rule: ["The published rule", rule],
      };
    }

    function showValid(state) {
      const one = layersOf(state)[state.layer - 1];
      const words = book.words.valid(state);
      out("valid").textContent = words;
      out("curves").setAttribute("aria-label", words);
      set(out("curves"), one ? book.curves.validPlot(one, state.map, {
        width: Math.max(240, out("curves").clientWidth),
        axes: state.axes,
      }) : "");
      return { valid: ["Valid weights", words] };
    }

    // The facts shown, by part, or null of what only moves.
    function show(state, how) {
      const now = book.state.chosen(state);
      showPlace(now, how);
      const map = showMap(now, how);
      if (how.moving) return null;
      showLayers(state, how.forced);
      showBranches(state);
      showControls(state, how);
      set(out("key"), book.template.key(now));
      return { map, rules: showRules(state), valid: showValid(state) };
    }

    return { out, control, button, show };
  }

  book.view = { view };
})((globalThis.atrousExplorer ??= {}));

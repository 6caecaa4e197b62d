// The page: what is changed in it changes its one state, which lives in the
// address. <div class="explorer" data-address> is the whole explorer;
// <div class="explorer" data-state="layers=k3-k3r2&size=17"> keeps its state
// to itself, and data-parts="map section" says which parts to show.
(function (book) {
  "use strict";
  const { START, layersOf } = book.state;
  const PARTS = ["layers", "map", "section", "rules", "valid"];
  const WAIT = 200; // ms before an address is written
  const PAUSE = 700; // ms before a change is read out
  // What of a state decides which outputs there are, and which is chosen.
  const PLACING = ["branches", "axes", "size", "at"];
  const presets = book.presets ?? []; // of the whole explorer only
  let instances = 0;

  const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);
  // The largest rate is what a preset is looked at for.
  const largestRate = (layers) =>
    Math.max(0, ...layers.map(({ dilation }) => dilation));
  const largest = (values) => values.indexOf(Math.max(...values)) + 1;

  function mount(host) {
    const id = `explorer-${++instances}`;
    const addressed = host.hasAttribute("data-address");
    host.innerHTML = book.template.page(id, addressed ? "h2" : "p");
    if (!addressed) {
      host.setAttribute("role", "group");
      host.setAttribute("aria-label", `Explorer ${instances}`);
    }
    const parts = host.dataset.parts?.split(" ") ?? PARTS;
    for (const part of host.querySelectorAll("[data-part]")) {
      part.hidden = !parts.includes(part.dataset.part);
    }
    const page = book.view.view(host, { id, parts });
    const { out, control, button } = page;
    let state = START;
    let written = ""; // the state in the address; null where there is none
    let last = null; // what was changed last
    let said = null; // facts as last read out
    let picked = -1; // the preset last chosen
    let fresh = false; // whether the next address is a new entry
    let from = null; // the output with which playing began
    const timers = {};

    const later = (name, wait, act) => {
      clearTimeout(timers[name]);
      timers[name] = setTimeout(act, wait);
    };

    // Read out what a change has changed of the parts that are shown; what
    // plays is read out when it pauses.
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

    function show({ forced = false, moving = false } = {}) {
      const [playing, still] = [player.playing(), player.still()];
      const how = { forced, moving, from, picked, playing, still };
      const known = page.show(state, how);
      if (known && !playing) speak(known);
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
    function become(next, { forced, moving, words = "" }) {
      const before = state;
      state = next;
      try {
        show({ forced, moving });
      } catch (error) {
        state = before;
        show({ forced: true });
        problem(`${error.message}; nothing was changed.`);
        return false;
      }
      problem(words);
      return true;
    }

    // Whoever chooses an output, or changes which there are, takes over.
    function change(changes, kind = null) {
      if (PLACING.some((key) => key in changes)) {
        player.pause();
        from = null;
      }
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
      player.pause();
      clearTimeout(timers.write);
      [written, last, from] = [text, null, null];
      const found = book.state.parse(text);
      become(found.state, { forced: true, words: found.problems.join(" ") });
    }

    const player = book.player.player({
      position() {
        const side = book.state.outputSide(state);
        return {
          number: state.at ? book.state.ordinal(state.at, side) : 0,
          count: side ** state.axes,
          begun: state.at !== null,
        };
      },
      go(number) {
        const side = book.state.outputSide(state);
        const at = book.state.output(number, side, state.axes);
        from = number ? from ?? state.at ?? at : at;
        become({ ...state, at }, { moving: true });
      },
      changed() {
        if (player.playing()) show({ moving: true });
        else rest();
      },
    });

    // What moved has come to rest: it is shown, told and kept in the address.
    function rest() {
      show();
      if (from) write("at");
    }

    const withLayers = (layers) => ({
      branches: state.branches.map((one, i) =>
        (i === state.branch - 1 ? layers : one)),
    });

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

    function pick(index) {
      const one = presets[index];
      if (!one) return;
      picked = index;
      const { branches, axes, size } = one;
      const branch = largest(branches.map(largestRate));
      const layer = largest(branches[branch - 1].map((l) => l.dilation));
      const show = branches.length > 1 ? "branches" : state.show;
      change({ branches, axes, size, branch, layer, show, at: null,
        phase: 0 });
    }

    host.addEventListener("input", ({ target }) => {
      const { key, layer } = target.dataset;
      const value = target.value === "" ? NaN : Number(target.value);
      if (key === "preset") {
        pick(value);
      } else if (key === "form") {
        change(book.state.reform(state, target.value));
      } else if (key === "pace") {
        player.setPace(value);
      } else if (key === "show") {
        change({ show: target.value });
      } else if (key === "row" || key === "column") {
        const at = [...book.state.chosen(state).at];
        at[key === "row" ? 0 : at.length - 1] = value;
        change({ at }, "at");
      } else if (["branch", "phase", "layer"].includes(key)) {
        change({ [key]: value });
      } else if (!book.state.within(key, value, state.axes)) {
        const name = target.labels[0].textContent.trim();
        target.setAttribute("aria-invalid", "true");
        problem(`${layer ? `Layer ${+layer + 1}, ` : ""}${name}: a whole ` +
          `number from ${target.min} to ${target.max} is possible.`);
      } else if (layer) {
        change(withLayers(edited(layersOf(state), +layer, key, value)),
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

    // Add, remove and move layers; the number of the one to focus.
    function rearrange(does, i) {
      const layers = [...layersOf(state)];
      let focus = i;
      if (does === "add") {
        layers.push(layers.at(-1) ?? book.arithmetic.layer(3, 1, 1, 1));
        focus = layers.length - 1;
      } else if (does === "remove") {
        layers.splice(i, 1);
        focus = Math.min(i, layers.length - 1);
      } else {
        focus = does === "up" ? i - 1 : i + 1;
        [layers[i], layers[focus]] = [layers[focus], layers[i]];
      }
      change(withLayers(layers));
      return focus;
    }

    // A branch more is a copy of the one that is looked at.
    function fork() {
      const branches = [...state.branches, layersOf(state)];
      change({ branches, branch: branches.length, show: "branches" });
      if (button("fork").disabled) control("branch").focus();
    }

    function drop() {
      const branches = state.branches.filter((_, i) =>
        i !== state.branch - 1);
      change({ branches });
      (branches.length > 1 ? control("branch") : button("fork")).focus();
    }

    host.addEventListener("click", ({ target }) => {
      const pressed = target.closest("[data-do]");
      if (!pressed) return;
      const does = pressed.dataset.do;
      const act = { play: player.toggle, step, fork, drop }[does];
      if (act) {
        act();
        return;
      }
      const focus = rearrange(does, Number(pressed.dataset.layer));
      if (does === "add" && !pressed.disabled) return;
      // The focus goes with the layer, so that it can be moved on.
      const next = [does, "remove", "up", "down", "remove"]
        .map((one) => host.querySelector(
          `[data-do="${one}"][data-layer="${focus}"]:not(:disabled)`))
        .find(Boolean);
      (next ?? button("add")).focus();
    });

    function step() {
      player.step();
      rest();
    }

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
      if (!(go || event.key === " ") || !at || !plain) return;
      event.preventDefault();
      event.stopPropagation();
      if (!go) {
        (player.still() ? step : player.toggle)();
        return;
      }
      const bound = (i) => Math.max(0, Math.min(most, i));
      const [y, x] = at.length === 1 ? [0, ...at] : at;
      change({ at: go([y, x]).map(bound).slice(-at.length) }, "at");
    });

    function point(event) {
      const picture = out("map").querySelector("svg");
      const side = book.state.outputSide(state);
      if (!picture || !side) return;
      const { low, high } = book.drawing.view(state);
      const all = book.branches.field(state.branches);
      const start = all.start + book.state.behind(state, all);
      const { left, top, width } = picture.getBoundingClientRect();
      const scale = (high - low) / width;
      const nearest = (offset) => {
        const pixel = low + offset * scale - 0.5;
        const index = Math.round((pixel - start) / all.jump);
        return Math.max(0, Math.min(side - 1, index));
      };
      const at = [event.clientY - top, event.clientX - left].map(nearest)
        .slice(-state.axes);
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
      addEventListener("hashchange", read);
      read();
      if (said === null) show(); // there was no state to read
    } else {
      become(book.state.parse(host.dataset.state).state, { forced: true });
    }
    // What is out of sight need not play.
    new IntersectionObserver(([{ isIntersecting }]) => {
      if (!isIntersecting) player.pause();
    }).observe(out("map"));
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

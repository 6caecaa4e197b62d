// Plays: lets an output after the other be the chosen one, in reading order,
// by itself or step by step. It never starts without being told to, and where
// less motion is asked for it only steps.
(function (book) {
  "use strict";

  // The number of the output that comes next. Playing begins with the first
  // one where none was chosen, and again after the last.
  function next(number, count, begun) {
    return begun && number < count - 1 ? number + 1 : 0;
  }

  // `position()` gives {number, count, begun}, `go(number)` shows an output,
  // and `changed()` hears when playing begins or ends.
  function player({ position, go, changed }) {
    const still = matchMedia("(prefers-reduced-motion: reduce)");
    let timer = null;
    let pace = book.template.USUAL_PACE;

    function step() {
      const { number, count, begun } = position();
      if (count) go(next(number, count, begun));
    }

    function pause() {
      if (timer === null) return;
      clearTimeout(timer);
      timer = null;
      changed();
    }

    function turn() {
      step();
      const { number, count } = position();
      if (number >= count - 1) pause();
      else timer = setTimeout(turn, 1000 / pace);
    }

    function play() {
      if (timer !== null || still.matches || !position().count) return;
      timer = setTimeout(turn, 0);
      changed();
    }

    still.addEventListener("change", () => {
      pause();
      changed();
    });
    document.addEventListener("visibilitychange", () => {
      if (document.hidden) pause();
    });

    return {
      step() {
        pause();
        step();
      },
      pause,
      toggle: () => (timer === null ? play() : pause()),
      setPace(value) {
        pace = value;
      },
      playing: () => timer !== null,
      still: () => still.matches,
    };
  }

  book.player = { next, player };
})((globalThis.atrousExplorer ??= {}));

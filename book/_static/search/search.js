// The search page. lunr finds records of `searchData`; this puts them in
// order, shows each with the line that was found, and leads to that line.
(() => {
  const WORD = /[\p{L}\p{N}_]+/gu;
  const HAN = /\p{sc=Han}/u;
  const FORMULA = "\u2063"; // as in code/sphinxext/searching.py
  const FIRST = 8; // results of a group that are shown at once
  const LONGEST = 180; // characters of a line that is shown
  const OBJECT = /#(module-)?atrous\./; // a place in the API
  const LANDING = 80; // characters that the page is opened at
  const FEWEST = 4; // words, below which they may stand elsewhere, too
  const AT_ONCE = 20; // milliseconds of indexing between two breaths

  const records = searchData.map(([kind, place, name, path, text, code]) => ({
    kind, place, name, path, text, code,
  }));

  const wordsOf = (text) => text.toLowerCase().match(WORD) ?? [];
  const stem = (word) => lunr.stemmer(new lunr.Token(word)).toString();
  const says = (word) => lunr.stopWordFilter(new lunr.Token(word));

  // Of `dilated_conv` the parts are found, too.
  const parts = (token) => [
    token,
    ...(/_/.test(token) ? token.toString().split("_") : [])
      .filter(Boolean).map((part) => token.clone(() => part)),
  ];
  lunr.tokenizer.separator = /[^\p{L}\p{N}_]+/u;
  lunr.Pipeline.registerFunction(parts, "parts");

  // Made in small steps: a phone answers its reader in between.
  const build = async () => {
    const builder = new lunr.Builder();
    builder.ref("number");
    builder.field("name", {boost: 8});
    builder.field("text");
    builder.field("code", {boost: 0.3});
    builder.pipeline.add(parts, lunr.stopWordFilter, lunr.stemmer);
    let since = performance.now();
    for (const [number, record] of records.entries()) {
      builder.add({number, ...record});
      if (performance.now() - since < AT_ONCE) continue;
      await new Promise((resolve) => setTimeout(resolve));
      since = performance.now();
    }
    return builder.build();
  };

  // What is looked for: each word as it is indexed, and whether the last one
  // may go on. Words that say nothing count only if there are no others.
  const wish = (query) => {
    const all = wordsOf(query);
    const telling = all.filter(says);
    const words = telling.length ? telling : all;
    return {phrase: all.join(" "), words, stems: words.map(stem)};
  };

  // Which word of a wish another word is, or -1.
  const which = ({words, stems}, word) => {
    const same = stems.indexOf(stem(word));
    if (same >= 0 || !words.length) return same;
    const last = words.at(-1);
    const within = HAN.test(last) ? word.includes(last)
      : last.length > 2 && word.startsWith(last);
    return within ? words.length - 1 : -1;
  };

  // Scores of all records that have a word, `edits` letters from it at most.
  const ask = (index, word, last, edits) => {
    const {LEADING, TRAILING} = lunr.Query.wildcard;
    const found = index.query((query) => {
      query.term(stem(word), {boost: 4});
      if (HAN.test(word)) {
        query.term(word, {wildcard: LEADING | TRAILING});
      } else if (last && word.length > 2) {
        query.term(word, {wildcard: TRAILING});
      }
      const most = Math.min(edits, word.length > 6 ? 2 : word.length > 3);
      if (most) query.term(word, {editDistance: Number(most), boost: 0.5});
    });
    return new Map(found.map(({ref, score}) => [Number(ref), score]));
  };

  // Records that have all words; else with other letters; else with some.
  const find = (index, {words}) => {
    let each = [];
    for (const edits of [0, 1, 2]) {
      each = words.map((word, i) =>
        ask(index, word, i === words.length - 1, edits));
      const [first, ...others] = each;
      const all = [...(first?.keys() ?? [])]
        .filter((number) => others.every((scores) => scores.has(number)));
      if (all.length) return {numbers: all, each, exact: edits === 0};
    }
    const some = new Set(each.flatMap((scores) => [...scores.keys()]));
    return {numbers: [...some], each, exact: false};
  };

  // How well a name fits: 4 if it is what was typed, 3 if it begins so, 2 if
  // it has it, 1 if it has all the words. A term has several names; of an
  // object's dotted name the last part is one, too.
  const fit = (name, {phrase, ...wished}) => {
    const names = [...name.split(" · "), name.split(".").at(-1)].map(wordsOf);
    const typed = names.map((words) => ` ${words.join(" ")}`);
    if (typed.includes(` ${phrase}`)) return 4;
    if (typed.some((one) => one.startsWith(` ${phrase}`))) return 3;
    if (typed.some((one) => one.includes(` ${phrase}`))) return 2;
    const has = (words, number) =>
      words.some((word) => which(wished, word) === number);
    return Number(names.some((words) =>
      wished.words.every((_, number) => has(words, number))));
  };

  const ranked = (index, wished) => {
    const {numbers, each, exact} = find(index, wished);
    const found = numbers.map((number) => {
      const record = records[number];
      const fits = fit(record.name, wished);
      const typed = record.text.toLowerCase().includes(wished.phrase);
      const sum = each.reduce((s, scores) => s + (scores.get(number) ?? 0), 0);
      return {record, fits, score: sum * (1 + fits) * (typed ? 1.2 : 1)};
    });
    found.sort((a, b) => b.score - a.score);
    // If a term is called as was typed, others are not called so.
    const terms = found.filter(({record}) => record.kind === "term");
    const least = terms.some(({fits}) => fits > 1) ? 2 : 1;
    const named = ({record, fits}) => record.kind === "term"
      ? fits >= least : fits === 4 && OBJECT.test(record.place);
    const api = (one) => !named(one) && one.record.kind === "api";
    const book = (one) => !named(one) && one.record.kind !== "api";
    return {
      exact,
      groups: [
        ["By name", found.filter(named).sort((a, b) => b.fits - a.fits)],
        ["In the book", found.filter(book)],
        ["API", found.filter(api)],
      ],
    };
  };

  // The words of a line that are looked for, and where they are.
  const hitsIn = (line, wished) => [...line.matchAll(WORD)]
    .map((match) => ({
      at: match.index,
      end: match.index + match[0].length,
      word: which(wished, match[0].toLowerCase()),
      typed: wished.words.includes(match[0].toLowerCase()),
    }))
    .filter(({word}) => word >= 0);

  // How much of a wish a line has. Words as they were typed count double, and
  // what is no sentence, such as the words of a link, counts half.
  const worth = (line, hits) => {
    const words = new Set(hits.map(({word}) => word)).size;
    const typed = new Set(hits.filter((h) => h.typed).map((h) => h.word)).size;
    return (words + typed) * (/[.?!:]$/.test(line) ? 1 : 0.5);
  };

  // The start and the end of a piece around a place, cut between words.
  const around = (line, at, length) => {
    if (line.length <= length) return [0, line.length];
    let start = Math.max(0, Math.min(at - length / 3, line.length - length));
    let end = Math.floor(start + length);
    start = start > 0 ? line.indexOf(" ", start) + 1 : 0;
    end = end < line.length ? line.lastIndexOf(" ", end) : line.length;
    return [start, end];
  };

  // The sentence of a text that has most of a wish, with what follows it in
  // its paragraph. The beginning of the text, if the name says as much, and
  // of a term, whose meaning comes first.
  const passage = ({record: {kind, text}, fits}, wished) => {
    const paragraphs = text.split("\n");
    const enough = kind === "term" ? Infinity : fits && wished.words.length;
    let best = {line: paragraphs[0], value: enough};
    for (const paragraph of paragraphs) {
      let start = 0;
      for (const sentence of paragraph.split(/(?<=[.?!]) /)) {
        const value = worth(sentence, hitsIn(sentence, wished));
        if (value > best.value) best = {line: paragraph.slice(start), value};
        start += sentence.length + 1;
      }
    }
    const hits = hitsIn(best.line, wished);
    const at = best.value > enough ? hits[0].at : 0;
    const [start, end] = around(best.line, at, LONGEST);
    const shown = hits.filter((hit) => hit.at >= start && hit.end <= end);
    return {line: best.line, hits: shown, start, end};
  };

  // What lets a browser go to the line itself and mark it: words around a hit
  // as they stand on the page. Formulas do not, so none is among them.
  const fragment = ({line, hits}) => {
    for (const {at, end} of hits) {
      const within = line.slice(0, at).split(FORMULA).length % 2 === 0;
      const from = line.lastIndexOf(FORMULA, at) + 1;
      const to = line.indexOf(FORMULA, end);
      const plain = line.slice(from, to < 0 ? line.length : to);
      const piece = plain.slice(...around(plain, at - from, LANDING)).trim();
      if (within || wordsOf(piece).length < FEWEST) continue;
      return `:~:text=${encodeURIComponent(piece).replaceAll("-", "%2D")}`;
    }
    return "";
  };

  const make = (tag, options = {}, ...children) => {
    const made = Object.assign(document.createElement(tag), options);
    made.append(...children);
    return made;
  };

  const marked = ({line, hits, start, end}) => {
    const shown = make("p", {className: "line"}, start > 0 ? "… " : "");
    let done = start;
    const plain = (to) => line.slice(done, to).replaceAll(FORMULA, "");
    for (const hit of hits) {
      shown.append(plain(hit.at));
      shown.append(make("mark", {}, line.slice(hit.at, hit.end)));
      done = hit.end;
    }
    shown.append(plain(end), end < line.length ? " …" : "");
    return shown;
  };

  // Names of a term but its first, in their languages.
  const others = (names) => names.flatMap((name) => [
    " · ", make("span", {lang: HAN.test(name) ? "zh" : "en"}, name),
  ]);

  const item = (one, wished) => {
    const {record: {kind, place, path, ...record}, fits} = one;
    const [name, ...more] = record.name.split(" · ");
    const found = passage(one, wished);
    const end = kind === "section" ? fragment(found) : "";
    const href = place + (end && !place.includes("#") ? "#" : "") + end;
    const code = record.code.split(" ")
      .find((one) => which(wished, one.toLowerCase()) >= 0);
    const line = !fits && !found.hits.length && code
      ? make("p", {className: "line"}, "In its code: ", make("mark", {}, code))
      : marked(found);
    const above = make("p", {className: "path"}, path.join(" › "));
    return make("li", {}, make("a", {href}, name), ...others(more),
      ...(path.length ? [above] : []), line);
  };

  const group = ([title, found], wished) => {
    const list = make("ol");
    const add = (some) => list.append(...some.map((one) => item(one, wished)));
    add(found.slice(0, FIRST));
    const section = make("section", {}, make("h2", {}, title), list);
    if (found.length > FIRST) {
      const more = make("button", {
        type: "button",
        className: "btn btn-sm",
        onclick: () => {
          add(found.slice(FIRST));
          list.children[FIRST].querySelector("a").focus();
          more.remove();
        },
      }, `Show all ${found.length}`);
      section.append(more);
    }
    return section;
  };

  const summary = (query, {groups, exact}) => {
    const count = groups.reduce((sum, [, found]) => sum + found.length, 0);
    if (!count) return `Nothing was found for “${query}”.`;
    const results = count === 1 ? "1 result" : `${count} results`;
    return exact ? `${results} for “${query}”.`
      : `Nothing has “${query}”. ${results} with something close to it.`;
  };

  const start = async () => {
    const form = document.querySelector(".bd-search-container form");
    const box = document.getElementById("found");
    const status = make("p", {className: "search-summary", role: "status"});
    const shown = make("div");
    box.append(status, shown);
    form.q.value = new URLSearchParams(location.search).get("q") ?? "";
    form.q.focus();
    const index = await build();
    const show = () => {
      const query = form.q.value.trim();
      const address = new URL(location);
      address.searchParams.set("q", query);
      history.replaceState(null, "", address);
      shown.replaceChildren();
      status.textContent = "";
      if (!query) return;
      const wished = wish(query);
      const found = ranked(index, wished);
      status.textContent = summary(query, found);
      shown.append(...found.groups
        .filter(([, some]) => some.length)
        .map((one) => group(one, wished)));
    };
    let waiting;
    form.q.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(show, 200);
    });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      clearTimeout(waiting);
      show();
    });
    show();
  };

  start();
})();

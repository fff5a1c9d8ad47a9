/** The page: what the visitor picks, and what the model recommends next. */

import { assignHues, card, element, example, fullTitle, historyRow, reasons, similarMovies } from "./cards.js";
import { Recommender } from "./recommender.js";
import { attachSearch } from "./search.js";

const TOP_K = 10;
const SIMILAR = 6;
const EXAMPLES = 4;
const MATCHES = 8;
const MIN_YEAR = 1000; // a smaller number is a year still being typed, and does not filter
// A function that uses a vector: it is valid only where WebAssembly has SIMD, which the runtime needs.
const SIMD = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11];

const page = Object.fromEntries([...document.querySelectorAll("[id]")].map((node) => [node.id, node]));
let recommender;
let history = []; // movies, oldest first
let latest = 0; // number of the last request; answers to earlier ones are dropped

class PageError extends Error {}

async function load() {
  if (typeof WebAssembly !== "object" || !WebAssembly.validate(new Uint8Array(SIMD))) {
    throw new PageError(
      "This browser cannot run the model: it lacks WebAssembly with SIMD. Any Chrome, Edge or Firefox since 2021, and " +
        "Safari since 16.4, can.",
    );
  }
  const ort = await import("./ort/ort.wasm.min.mjs");
  ort.env.wasm.wasmPaths = new URL("ort/", location.href).href;
  ort.env.wasm.numThreads = 1; // more need headers that a static page does not send
  const loaded = await Recommender.load(new URL(".", location.href), { ort });
  if (!loaded.movies.some((movie) => movie.title)) {
    throw new PageError("This model was published without titles, so there is nothing to search for on this page.");
  }
  return loaded;
}

async function start() {
  const { textContent: name } = page.model;
  if (name.includes("/")) {
    // In a new tab, as a Space is a frame of another page, and leaving the page would lose the history.
    page.model.replaceChildren(element("a", { href: `https://huggingface.co/${name}`, target: "_blank" }, name));
  }
  try {
    recommender = await load();
  } catch (error) {
    const hint = `The model cannot be loaded: ${error.message}. Reload the page to try again.`;
    return show({
      heading: "The model cannot run",
      message: error instanceof PageError ? error.message : hint,
      kind: "error",
    });
  }
  const search = (query) => recommender.search(query, MATCHES + history.length).filter((movie) => !ids().includes(movie.id));
  attachSearch({
    input: page.search,
    list: page.matches,
    hint: page["no-match"],
    search: (query) => search(query).slice(0, MATCHES),
    pick: add,
  });
  page.search.disabled = false;
  page.number.textContent = ` · ${recommender.movies.length.toLocaleString("en")} movies`;
  buildFilters();
  page.goals.querySelector("[value=taste]").checked = recommender.hasTaste;
  page.goals.addEventListener("input", update);
  page.clear.addEventListener("click", () => change([], () => page.search));
  update().then(prepare);
}

/** Load similar.json, so that the page works offline, and run the network once, as its first run takes longer. */
async function prepare() {
  const { id } = recommender.movies[0];
  await recommender.similar(id).catch(() => {});
  await recommender.recommend([id], { goal: "next" }).catch(() => {});
}

function add(movie) {
  if (!ids().includes(movie.id)) {
    change([...history, movie], () => (document.activeElement === page.search ? page.search : page["answer-heading"]));
  }
}

/** Replace the history, and focus what `focused` returns: the element that had the focus may be gone. */
function change(movies, focused) {
  const target = focused();
  history = movies;
  update();
  target.focus({ preventScroll: true });
}

const rowActions = {
  similar: showSimilar,
  move(index, step) {
    const movies = [...history];
    movies.splice(index + step, 0, ...movies.splice(index, 1));
    history = movies;
    update();
    const [up, down] = page.history.children[index + step].querySelectorAll("[data-action=up], [data-action=down]");
    (up.disabled || (step > 0 && !down.disabled) ? down : up).focus();
  },
  remove(index) {
    history = history.filter((_, other) => other !== index);
    update();
    const row = page.history.children[Math.min(index, history.length - 1)];
    (row?.querySelector("[data-action=remove]") ?? page.search).focus();
  },
};

/** "taste", which ignores the order of the history, or "next". */
function goal() {
  return page.goals.querySelector(":checked").value;
}

/** Show the history, and recommend movies for it. */
async function update() {
  const ordered = goal() === "next";
  page.history.replaceChildren(
    ...history.map((movie, index) => historyRow(movie, index, history.length, ordered, rowActions)),
  );
  page.clear.hidden = !history.length;
  page.filters.hidden = !history.length || (page.genres.hidden && page.years.hidden);
  page.goals.hidden = !history.length || !recommender.hasTaste;
  const order = ordered ? "The order matters: the latest movie comes last." : "In any order.";
  page.order.textContent = history.length ? order : `Nothing yet. ${order}`;
  const request = ++latest;
  if (!history.length) return showExamples();
  const began = performance.now();
  try {
    const movies = await recommender.recommend(ids(), { topK: TOP_K, goal: goal(), ...readFilters() });
    if (request === latest) showAnswer(movies, performance.now() - began);
  } catch (error) {
    if (request === latest) show({ message: error.message, kind: "error" });
  }
}

/** "No movies", "1 movie", "2 movies". */
function counted({ length }, noun) {
  return `${length || "No"} ${noun}${length === 1 ? "" : "s"}`;
}

function ids() {
  return history.map((movie) => movie.id);
}

function showAnswer(movies, milliseconds) {
  const first = movies.length ? ` The first is ${fullTitle(movies[0])}.` : "";
  show({
    heading: goal() === "next" ? "Watch next" : "You may like",
    timing: `answered in ${Math.max(1, Math.round(milliseconds))} ms`,
    message: movies.length < TOP_K ? `${counted(movies, "movie")} left: widen the filters for more.` : "",
    movies,
    announcement: `${counted(movies, "recommendation")} after ${counted(history, "movie")}.${first}`,
  });
}

/** Histories to start with: the most popular movies of the most frequent genres, or of the catalogue. */
async function showExamples() {
  const popular = [...recommender.movies].sort((a, b) => b.count - a.count);
  const used = new Set();
  const examples = genresByFrequency()
    .slice(0, EXAMPLES)
    .map((name) => {
      const movies = popular.filter((movie) => movie.genres.includes(name) && !used.has(movie)).slice(0, 3);
      movies.forEach((movie) => used.add(movie));
      return [name, movies.reverse()];
    })
    .filter(([, movies]) => movies.length);
  if (!examples.length) examples.push(["Popular", popular.slice(0, 3)]);
  show({
    heading: "Start with an example",
    examples: examples.map(([name, movies]) => example(name, movies, () => change(movies, () => page["answer-heading"]))),
    movies: await recommender.recommend([], { topK: TOP_K }).catch(() => []), // the popularity may be unknown
    announcement: `Ready: ${recommender.movies.length} movies.`,
  });
}

/** Fill the right side of the page; omitted fields are emptied, except for the heading. */
function show({ heading, timing = "", message = "", kind = "", examples = [], movies = [], announcement = message }) {
  page["answer-heading"].textContent = heading ?? page["answer-heading"].textContent;
  page.timing.textContent = timing;
  page.message.hidden = !message;
  page.message.className = `message ${kind}`;
  page.message.textContent = message;
  page.examples.replaceChildren(...examples);
  page.popular.hidden = !examples.length || !movies.length;
  const actions = { why: showReasons, similar: showSimilar, add };
  const score = history.length ? goal() : "popularity";
  page.cards.replaceChildren(...movies.map((movie, index) => card(movie, index + 1, movies[0].score, score, actions)));
  page.announcement.textContent = announcement;
}

async function showReasons(movie) {
  const [because] = await recommender.explain(ids(), [movie.id], { goal: goal() });
  return reasons(because);
}

async function showSimilar(movie) {
  const others = (await recommender.similar(movie.id)).filter(({ id }) => !ids().includes(id));
  return similarMovies(others.slice(0, SIMILAR), add);
}

function genresByFrequency() {
  const counts = new Map();
  for (const name of recommender.movies.flatMap((movie) => movie.genres)) counts.set(name, (counts.get(name) ?? 0) + 1);
  return [...counts.keys()].sort((a, b) => counts.get(b) - counts.get(a));
}

function buildFilters() {
  const names = genresByFrequency();
  assignHues(names);
  const chips = [...names].sort().map((name) => {
    const box = element("input", { type: "checkbox", value: name });
    return element("label", { class: "chip" }, box, element("span", {}, name));
  });
  page.genres.querySelector(".chips").append(...chips);
  page.genres.hidden = !names.length;
  const years = recommender.movies.map((movie) => movie.year).filter((year) => year !== null).sort((a, b) => a - b);
  page.years.hidden = !years.length;
  page["first-year"].placeholder = years.at(0) ?? ""; // Math.min takes no hundred thousand arguments
  page["last-year"].placeholder = years.at(-1) ?? "";
  page.filters.addEventListener("input", filtersChanged);
  page.reset.addEventListener("click", () => {
    for (const box of page.genres.querySelectorAll(":checked")) box.checked = false;
    page["first-year"].value = page["last-year"].value = "";
    filtersChanged();
  });
  page.filters.open = matchMedia("(min-width: 60rem)").matches;
}

function filtersChanged() {
  const { genres, years } = readFilters();
  const count = (genres?.length ?? 0) + (years ? 1 : 0);
  page["active-filters"].textContent = count ? `(${count})` : "";
  update();
}

/** Options of `Recommender.recommend`; what is not set is left out. */
function readFilters() {
  const genres = [...page.genres.querySelectorAll(":checked")].map((box) => box.value);
  const years = [page["first-year"], page["last-year"]].map(({ value }) => (value >= MIN_YEAR ? Number(value) : null));
  return {
    ...(genres.length && { genres }),
    ...(years.some((year) => year !== null) && { years }),
  };
}

start();

/** Elements of the page: movies as cards, rows of the history, and the panels below them. */

const DIGITS = { minimumSignificantDigits: 2, maximumSignificantDigits: 2 };
const SCORE = new Intl.NumberFormat("en", { style: "percent", ...DIGITS });
const PERCENT = new Intl.NumberFormat("en", { style: "percent" });
const SCORES = {
  next: "Probability that this movie is the next one",
  taste: "Share of the scores of all movies",
  popularity: "Share of all interactions in the training data",
};
const hues = new Map(); // of genres, frequent ones first
let panels = 0;

/** Give every genre a hue, far from those of the genres that are nearly as frequent. */
export function assignHues(genresByFrequency) {
  genresByFrequency.forEach((name, index) => hues.set(name, Math.round(25 + index * 137.5) % 360));
}

/** The hue of a movie's rarest genre as a style. */
function color(genres) {
  const rarest = [...hues.keys()].filter((name) => genres.includes(name)).at(-1);
  return `--hue: ${hues.get(rarest) ?? 250}`;
}

/** An element with attributes and children; text is never parsed as HTML. */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else if (value !== false && value !== null) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

/** "The Godfather (1972)". */
export function fullTitle(movie) {
  return movie.year === null ? titleOf(movie) : `${titleOf(movie)} (${movie.year})`;
}

function titleOf(movie) {
  return movie.title ?? String(movie.id);
}

/** Title and year as children of an element. */
export function titleWithYear(movie) {
  return [titleOf(movie), movie.year === null ? "" : element("span", { class: "year" }, ` ${movie.year}`)];
}

/**
 * A recommended movie.
 *
 * @param {Object} movie with its score
 * @param {number} rank from 1
 * @param {number} largest score of the best movie, the length of a full bar
 * @param {"next" | "taste" | "popularity"} kind of the score
 * @param {Object} actions `why`, `similar`: (movie) => Promise of an element; `add`: (movie) => void
 */
export function card(movie, rank, largest, kind, actions) {
  const style = `${color(movie.genres)}; --share: ${movie.score / largest}`;
  const panel = panelBelow();
  const why = kind !== "popularity" ? [opener("Why?", panel, () => actions.why(movie), movie)] : [];
  const similar = opener("More like this", panel, () => actions.similar(movie), movie);
  return element(
    "li",
    { class: "card", style, "data-movie": movie.id },
    element("span", { class: "tile", "aria-hidden": "true" }, String(rank)),
    element(
      "div",
      { class: "body" },
      element("h3", {}, ...titleWithYear(movie)),
      element("p", { class: "genres" }, ...movie.genres.map((name) => element("span", {}, name))),
      element(
        "p",
        { class: "score", title: SCORES[kind] },
        bar(),
        element("span", {}, SCORE.format(movie.score)),
      ),
    ),
    element("div", { class: "actions" }, ...why, similar, adder(movie, actions.add, "Seen it")),
    panel,
  );
}

/** A bar as long as the style `--share` of its parent. */
function bar() {
  return element("span", { class: "bar", "aria-hidden": "true" }, element("span"));
}

/** A button that adds a movie to the history. */
function adder(movie, add, ...content) {
  const label = `Add ${fullTitle(movie)} to your history`;
  // The second click of a double click would add the movie that replaced this one.
  const click = (event) => event.detail < 2 && add(movie);
  return element("button", { type: "button", "aria-label": label, click }, ...content);
}

/**
 * A movie of the history.
 *
 * @param {Object} movie
 * @param {number} index in a history of `length` movies
 * @param {boolean} ordered whether it can be moved
 * @param {Object} actions `move`: (index, step), `remove`: (index), `similar`: (movie) => Promise of an element
 */
export function historyRow(movie, index, length, ordered, actions) {
  const panel = panelBelow();
  const button = (action, symbol, text, attributes) =>
    element("button", { type: "button", "data-action": action, "aria-label": text, title: text, ...attributes }, symbol);
  const name = fullTitle(movie);
  const title = opener("", panel, () => actions.similar(movie), movie);
  title.setAttribute("aria-label", `${name}: more like this`);
  title.setAttribute("title", "More like this");
  title.append(...titleWithYear(movie));
  const arrows = [
    button("up", "↑", `Move ${name} up`, { disabled: index === 0, click: () => actions.move(index, -1) }),
    button("down", "↓", `Move ${name} down`, { disabled: index === length - 1, click: () => actions.move(index, 1) }),
  ];
  return element(
    "li",
    {},
    element("span", { class: "number", "aria-hidden": "true" }, String(index + 1)),
    title,
    ...(ordered ? arrows : []),
    button("remove", "✕", `Remove ${name}`, { click: () => actions.remove(index) }),
    panel,
  );
}

function panelBelow() {
  panels += 1;
  return element("div", { class: "panel", id: `panel-${panels}`, hidden: true });
}

/** A button that opens the panel with what `load` returns, and closes it again. */
function opener(text, panel, load, movie) {
  const attributes = { type: "button", "aria-expanded": "false", "aria-controls": panel.id };
  const button = element("button", attributes, text);
  if (text) button.append(element("span", { class: "visually-hidden" }, ` ${fullTitle(movie)}`));
  button.addEventListener("click", async () => {
    const opens = button.getAttribute("aria-expanded") === "false";
    for (const other of panel.parentElement.querySelectorAll("[aria-expanded]")) {
      other.setAttribute("aria-expanded", "false");
    }
    button.setAttribute("aria-expanded", String(opens));
    panel.hidden = !opens;
    if (!opens) return;
    panel.replaceChildren(); // another button may have filled it
    const content = await load().catch((error) => element("p", { class: "error" }, error.message));
    if (button.getAttribute("aria-expanded") === "true") panel.replaceChildren(content);
  });
  return button;
}

/** A history to start with, whose lines break between titles. */
export function example(genre, movies, choose) {
  const titles = movies.map((movie, index) => element("span", {}, titleOf(movie) + (index < movies.length - 1 ? ", " : "")));
  return element(
    "button",
    { type: "button", style: color([genre]), click: choose },
    element("strong", {}, genre),
    element("span", { class: "titles" }, ...titles),
  );
}

/** Reasons for a recommendation, each with its share of all contributions. */
export function reasons(because) {
  if (!because.length) return element("p", {}, "No movie of your history raises its score; it is popular.");
  const total = because.reduce((sum, reason) => sum + reason.contribution, 0);
  const rows = because.slice(0, 5).map((reason) => {
    const style = `--share: ${reason.contribution / because[0].contribution}`;
    const share = element("span", {}, PERCENT.format(reason.contribution / total));
    return element("li", { style }, element("span", {}, ...titleWithYear(reason)), bar(), share);
  });
  return element("div", {}, element("h4", {}, "Because you watched"), element("ol", { class: "reasons" }, ...rows));
}

/** Similar movies; a click adds one to the history. */
export function similarMovies(movies, add) {
  const rows = movies.map((movie) => element("li", {}, adder(movie, add, ...titleWithYear(movie))));
  return element("div", {}, element("h4", {}, "More like this"), element("ul", { class: "similar" }, ...rows));
}

/**
 * Type-ahead in a combobox with a listbox, as the ARIA Authoring Practices describe it: arrow keys choose a match, Enter
 * picks it, Escape closes the list.
 */

import { element, titleWithYear } from "./cards.js";

/**
 * @param {Object} options
 * @param {HTMLInputElement} options.input
 * @param {HTMLElement} options.list the listbox
 * @param {HTMLElement} options.hint visible if nothing matches
 * @param {(query: string) => Object[]} options.search matching movies
 * @param {(movie: Object) => void} options.pick
 */
export function attachSearch({ input, list, hint, search, pick }) {
  let matches = [];
  let active = 0;

  function show() {
    matches = search(input.value);
    active = 0;
    list.replaceChildren(...matches.map(option));
    list.hidden = !matches.length;
    hint.hidden = Boolean(matches.length) || !input.value.trim();
    hint.textContent = hint.hidden ? "" : `No other movie here has “${input.value.trim()}” in its title.`;
    input.setAttribute("aria-expanded", String(!list.hidden));
    mark();
  }

  function option(movie, index) {
    const row = element("li", { id: `match-${index}`, role: "option" }, ...titleWithYear(movie));
    row.addEventListener("pointerdown", (event) => event.preventDefault()); // the input keeps the focus
    row.addEventListener("click", () => choose(index));
    return row;
  }

  function mark() {
    [...list.children].forEach((row, index) => row.setAttribute("aria-selected", String(index === active)));
    input.setAttribute("aria-activedescendant", list.children[active]?.id ?? "");
    list.children[active]?.scrollIntoView({ block: "nearest" });
  }

  function close() {
    list.hidden = hint.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.setAttribute("aria-activedescendant", "");
  }

  function choose(index) {
    const movie = matches[index];
    input.value = "";
    show();
    if (movie) pick(movie);
  }

  function move(step) {
    if (list.hidden) return show();
    active = (active + step + matches.length) % matches.length;
    mark();
  }

  const keys = {
    ArrowDown: () => move(1),
    ArrowUp: () => move(-1),
    Enter: () => list.hidden || choose(active),
    Escape: close,
  };

  input.addEventListener("input", show);
  input.addEventListener("focus", show);
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    if (!keys[event.key] || event.isComposing) return;
    event.preventDefault();
    keys[event.key]();
  });
}

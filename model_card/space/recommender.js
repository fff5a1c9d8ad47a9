/**
 * Recommendations from a published BERT4Rec model, in a browser or in Node. The only dependency is onnxruntime.
 *
 *     import * as ort from "./ort/ort.wasm.min.mjs"; // or "onnxruntime-web", or "onnxruntime-node"
 *     import { Recommender } from "./recommender.js";
 *
 *     const model = "https://huggingface.co/someone/bert4rec-ml-latest-small/resolve/main/";
 *     const recommender = await Recommender.load(model, { ort });
 *     const movies = await recommender.recommend([1, 50], { topK: 3, genres: ["Comedy"], years: [1990, null] });
 *
 * A history is a list of item ids, oldest first. Scores and order are those of the Python pipeline.
 */

import { Taste } from "./taste.js";

const FIRST_ITEM_ID = 3; // input id of the first item, after [PAD], [MASK] and [UNK]
const UNKNOWN_TIME = -(2n ** 63n);
const MAX_SECONDS = 1e11; // a larger number is one of milliseconds
const EXPLAIN_BATCH_SIZE = 8; // histories scored at once, few enough to keep a page responsive
const FILES = ["config.json", "tokenizer.json", "tokenizer_config.json", "items.json"];
const OPTIONS = ["topK", "goal", "excludeSeen", "genres", "years", "timestamps", "now"];
const ROMAN = ["i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix", "x", "xi", "xii"];
const WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"];
const NUMERALS = ROMAN.map((roman, index) => [String(index + 1), roman, WORDS[index]]); // each number's spellings
const ARTICLE = /^([^(]+), (the|an?|l[aeo]s?|l'|el|il|die|das|der|det|den|une?)(?= \(|$)/i;

/**
 * @typedef {Object} Movie
 * @property {number | string} id an integer beyond 2^53 as text
 * @property {?string} title without its year, articles in front: "The Godfather"
 * @property {?number} year
 * @property {string[]} genres
 * @property {number} count interactions in the training data, 0 where unknown
 */

export class Recommender {
  #config;
  #ort;
  #positions; // of the catalogue, by item id as text
  #read;
  #running = Promise.resolve(); // a session of onnxruntime-web runs one call at a time
  #session;
  #similar;
  #taste; // null if the model has none
  #words;

  /** Use `Recommender.load`. */
  constructor({ config, movies, ort, read, session, taste }) {
    this.#config = config;
    this.#ort = ort;
    this.#read = read;
    this.#session = session;
    this.#taste = taste;
    this.#positions = new Map(movies.map((movie, position) => [String(movie.id), position]));
    /** @type {Movie[]} the catalogue in the order of the vocabulary */
    this.movies = movies;
  }

  /**
   * Load a model's folder.
   *
   * @param {string | URL} folder address of the folder, with a slash at the end
   * @param {Object} options
   * @param {Object} options.ort the module onnxruntime-web or onnxruntime-node
   * @param {string} [options.file] file in `onnx/`: `model_quantized.onnx` or `model.onnx`
   * @param {(name: string) => Promise<Uint8Array>} [options.read] reads a file of the folder; by default by `fetch`
   * @throws {Error} a file is missing or damaged; the message names it
   */
  static async load(folder, { ort, file = "model_quantized.onnx", read = fetchFrom(folder) }) {
    const createSession = (bytes) => ort.InferenceSession.create(bytes);
    const [session, config, tokenizer, tokenizerConfig, items] = await Promise.all([
      decode(read, `onnx/${file}`, createSession, "is damaged, or not a model for this onnxruntime"),
      ...FILES.map((name) => readJson(read, name)),
    ]);
    const movies = readMovies(tokenizer, tokenizerConfig, items);
    if (FIRST_ITEM_ID + movies.length !== config.vocab_size) {
      throw new Error(`tokenizer.json has ${movies.length} items, config.json ${config.vocab_size - FIRST_ITEM_ID}`);
    }
    const createTaste = (bytes) => new Taste(bytes, movies.length);
    const taste = config.taste_size
      ? await decode(read, "onnx/taste.safetensors", createTaste, "is damaged, or of another model")
      : null;
    return new Recommender({ config, movies, ort, read, session, taste });
  }

  /** Whether the model can answer with the goal "taste". */
  get hasTaste() {
    return this.#taste !== null;
  }

  /**
   * Movies for a history, best first. A history without movies is answered by popularity. Null is an option not given.
   *
   * @param {(number | string)[]} history item ids, oldest first
   * @param {Object} [options]
   * @param {number} [options.topK] number of movies; fewer if the filters leave fewer
   * @param {"taste" | "next"} [options.goal] movies for the same taste, or movies that users watched next; by default
   *   "taste" for a history without times if the model can, else "next"
   * @param {boolean} [options.excludeSeen] leave out the movies of the history; by default as config.json says
   * @param {string[]} [options.genres] only movies with any of these, in any case
   * @param {[?number, ?number]} [options.years] first and last year, null for no bound
   * @param {(?number)[]} [options.timestamps] seconds since 1970 of each movie, null where unknown
   * @param {number} [options.now] seconds since 1970 of the request
   * @returns {Promise<(Movie & { score: number, source: "model" | "popularity" })[]>}
   * @throws {TypeError | RangeError} the message names the value
   */
  async recommend(history, options = {}) {
    const unknown = Object.keys(options).find((name) => !OPTIONS.includes(name));
    if (unknown) throw new TypeError(`unknown option ${unknown}; there are ${OPTIONS.join(", ")}`);
    const topK = options.topK ?? 10;
    if (!Number.isInteger(topK) || topK < 1) throw new RangeError(`topK is ${topK}; it must be an integer, 1 or more`);
    const excludeSeen = options.excludeSeen ?? this.#config.exclude_seen ?? true;
    const seen = this.#parse(history);
    const source = seen.length ? "model" : "popularity";
    const input = this.#input(seen, options);
    const logScores = seen.length ? (await this.#logScores([input]))[0] : this.#logPopularity();
    const excluded = new Set(excludeSeen ? seen : []);
    const passes = filter(this.movies, options);
    return best(logScores, topK, (position) => !excluded.has(position) && passes(position)).map((position) => ({
      ...this.movies[position],
      score: Math.exp(logScores[position]),
      source,
    }));
  }

  /**
   * For each of some movies, the movies of the history that raise its score, strongest first. `contribution` is what
   * the logarithm of the score loses without the movie.
   *
   * @param {(number | string)[]} history
   * @param {(number | string)[]} movies ids of recommended movies
   * @param {Object} [options] `goal`, `timestamps` and `now` of `recommend`
   * @returns {Promise<(Movie & { contribution: number })[][]>}
   */
  async explain(history, movies, options = {}) {
    const input = this.#input(this.#parse(history), options);
    const positions = this.#parse(movies);
    const entries = [...new Set(input.positions)];
    const rows = [input, ...entries.map((entry) => without(input, entry))];
    const logScores = [];
    for (let start = 0; start < rows.length; start += EXPLAIN_BATCH_SIZE) {
      logScores.push(...(await this.#logScores(rows.slice(start, start + EXPLAIN_BATCH_SIZE))));
    }
    const [full, ...shortened] = logScores;
    return positions.map((position) =>
      entries
        .map((entry, row) => ({ ...this.movies[entry], contribution: full[position] - shortened[row][position] }))
        .filter((reason) => reason.contribution > 0)
        .sort((a, b) => b.contribution - a.contribution),
    );
  }

  /**
   * The movies most similar to one, best first, from `similar.json` of a Space.
   *
   * @param {number | string} movie
   * @param {number} [topK] at most 10, which the file has
   * @returns {Promise<(Movie & { score: number })[]>}
   */
  async similar(movie, topK = 10) {
    const [position] = this.#parse([movie]);
    this.#similar ??= readJson(this.#read, "similar.json").catch((error) => {
      this.#similar = undefined; // so that the next call tries again
      throw error;
    });
    const { positions, scores } = await this.#similar;
    return positions[position]
      .slice(0, topK)
      .map((other, rank) => ({ ...this.movies[other], score: scores[position][rank] }));
  }

  /**
   * Movies whose titles have words that start with those of the query, or start with it, wherever the blanks are, in any
   * case and without accents. "Rocky 2" finds "Rocky II", "and" finds "&". Titles that start with the query come first,
   * with its last word complete ("Go" before "GoldenEye") before others, then popular ones before others.
   *
   * @param {string} query
   * @param {number} [limit]
   * @returns {Movie[]}
   */
  search(query, limit = 8) {
    const text = normalize(query);
    const words = text.split(" ").slice(1);
    if (!words.length) return [];
    this.#words ??= this.movies.map(searchEntry).sort((a, b) => b.movie.count - a.movie.count);
    const joined = words.join("");
    const matches = this.#words.filter(
      (entry) => words.every((word) => entry.text.includes(` ${word}`)) || entry.joined.startsWith(joined),
    );
    const [complete, first, rest] = [[], [], []];
    for (const match of matches) {
      const isComplete = [undefined, " "].includes(match.text[text.length]);
      (!match.text.startsWith(text) ? rest : isComplete ? complete : first).push(match);
    }
    return [...complete, ...first, ...rest].slice(0, limit).map((match) => match.movie);
  }

  /** Catalogue positions of item ids. */
  #parse(ids) {
    if (!Array.isArray(ids)) throw new TypeError(`a history is a list of ids, not ${ids}`);
    return ids.map((id) => {
      const position = this.#positions.get(String(id).trim());
      if (position === undefined) throw new RangeError(`${id} is not in the catalogue`);
      return position;
    });
  }

  /** Goal, movies and times of a request; for "next" only the most recent movies, which fit the window with a [MASK]. */
  #input(positions, options) {
    const { timestamps = null, now = null } = options;
    if (timestamps && timestamps.length !== positions.length) {
      throw new RangeError(`${timestamps.length} timestamps for a history of ${positions.length}: give one each`);
    }
    const goal = options.goal ?? (this.#taste && !timestamps && now === null ? "taste" : "next");
    if (goal !== "next" && goal !== "taste") throw new RangeError(`goal is ${goal}; it is "next" or "taste"`);
    if (goal === "taste" && !this.#taste) throw new RangeError('goal is "taste", but the model has no taste factors');
    const start = goal === "taste" ? 0 : Math.max(0, positions.length - (this.#config.max_position_embeddings - 1));
    const times = [...(timestamps ?? positions.map(() => null)), now].map(toTime);
    checkOrder(times);
    return { goal, positions: positions.slice(start), times: times.slice(start, -1), now: times.at(-1) };
  }

  /** Logarithms of the softmax over all items, Float64Arrays, for inputs with one goal. */
  async #logScores(inputs) {
    if (inputs[0].goal === "taste") {
      return inputs.map(({ positions }) => logSoftmax(this.#taste.logScores(positions)));
    }
    const { logits } = await this.#run(this.#encode(inputs));
    const [rows, width] = logits.dims;
    if (rows !== inputs.length || width !== this.#config.vocab_size) {
      throw new Error(`the model gives ${width} scores for ${this.#config.vocab_size} entries of config.json`);
    }
    return inputs.map((_, row) => logSoftmax(logits.data.subarray(row * width + FIRST_ITEM_ID, (row + 1) * width)));
  }

  /** The model's inputs, (rows, longest) each: a [MASK] after each history, then padding. */
  #encode(inputs) {
    const longest = Math.max(...inputs.map((input) => input.positions.length)) + 1;
    const shape = [inputs.length, longest];
    const ids = new BigInt64Array(inputs.length * longest).fill(BigInt(this.#config.pad_token_id));
    const mask = new BigInt64Array(ids.length);
    const times = new BigInt64Array(ids.length).fill(UNKNOWN_TIME);
    inputs.forEach(({ positions, times: known, now }, row) => {
      const start = row * longest;
      const tokens = [...positions.map((position) => FIRST_ITEM_ID + position), this.#config.mask_token_id];
      ids.set(tokens.map(BigInt), start);
      mask.fill(1n, start, start + tokens.length);
      times.set([...known, now], start);
    });
    const columns = { input_ids: ids, attention_mask: mask, timestamps: times, event_ids: new BigInt64Array(ids.length) };
    const names = this.#session.inputNames; // timestamps only if the model was trained with them
    return Object.fromEntries(names.map((name) => [name, new this.#ort.Tensor("int64", columns[name], shape)]));
  }

  #run(feeds) {
    const result = this.#running.then(() => this.#session.run(feeds));
    this.#running = result.catch(() => {});
    return result;
  }

  #logPopularity() {
    const total = this.movies.reduce((sum, movie) => sum + movie.count, 0);
    if (!total) throw new Error("popularity is not known: items.json has no counts, so a history needs movies");
    return Float64Array.from(this.movies, (movie) => Math.log(movie.count / total));
  }
}

function fetchFrom(folder) {
  return async (name) => {
    let problem;
    try {
      const response = await fetch(new URL(name, new URL(folder, globalThis.location?.href)));
      if (response.ok) return new Uint8Array(await response.arrayBuffer());
      problem = `the server answers ${response.status}`;
    } catch (error) {
      problem = error.message;
    }
    throw new Error(`${name} cannot be loaded: ${problem}`);
  };
}

/** What `create` makes of a file's bytes; an error names file and problem. */
async function decode(read, name, create, problem) {
  const bytes = await read(name);
  try {
    return await create(bytes);
  } catch (error) {
    throw new Error(`${name} ${problem} (${error.message})`, { cause: error });
  }
}

function readJson(read, name) {
  return decode(read, name, (bytes) => JSON.parse(new TextDecoder().decode(bytes)), "is not valid JSON");
}

/** The catalogue: ids in the order of the vocabulary, with the columns of items.json that are known. */
function readMovies(tokenizer, tokenizerConfig, items) {
  const tokens = Object.entries(tokenizer.model.vocab)
    .sort((a, b) => a[1] - b[1])
    .slice(FIRST_ITEM_ID);
  // A number beyond 2^53 would be rounded to another id.
  const toId = (token) => (tokenizerConfig.item_id_type === "str" || !Number.isSafeInteger(+token) ? token : +token);
  return tokens.map(([token], position) => ({
    id: toId(token),
    title: items.title?.[position] ? displayTitle(items.title[position]) : null,
    year: items.year?.[position] ?? null,
    genres: items.genres?.[position] ?? [],
    count: items.count?.[position] ?? 0,
  }));
}

/** "Godfather, The" is "The Godfather". */
function displayTitle(title) {
  return title.replace(ARTICLE, (_, name, article) => `${article}${article.endsWith("'") ? "" : " "}${name}`);
}

/** Lower-case words without accents, each after a blank: " amelie 2001"; "&" is "and". */
function normalize(text) {
  const plain = text.toLowerCase().normalize("NFKD").replace(/[\p{M}'’]/gu, "").replaceAll("&", " and ");
  return (plain.match(/[\p{L}\p{N}_]+/gu) ?? []).map((word) => ` ${word}`).join("");
}

/** A movie with the words to search it by, numerals in all spellings, and with the words of its title joined. */
function searchEntry(movie) {
  const words = normalize(`${movie.title ?? movie.id} ${movie.year ?? ""}`);
  const numerals = words.split(" ").flatMap((word) => NUMERALS.find((spellings) => spellings.includes(word)) ?? []);
  return { movie, text: [words, ...numerals].join(" "), joined: words.replaceAll(" ", "") };
}

/** Whether the movie at a position passes the filters by genres and years; movies without a year fail the latter. */
function filter(movies, { genres = null, years = null }) {
  if (genres && !(Array.isArray(genres) && genres.length)) {
    throw new TypeError(`genres is a list of at least one name, not ${JSON.stringify(genres)}`);
  }
  const isOfGenre = (movie, name) => movie.genres.some((own) => own.toLowerCase() === name.toLowerCase());
  const unknown = genres?.find((name) => !movies.some((movie) => isOfGenre(movie, name)));
  if (unknown !== undefined) throw new RangeError(`no movie has the genre ${unknown}`);
  const [first, last] = years ?? [];
  if (first != null && last != null && first > last) {
    throw new RangeError(`the first year, ${first}, comes after the last, ${last}: swap them`);
  }
  return (position) => {
    const { year } = movies[position];
    if (genres && !genres.some((name) => isOfGenre(movies[position], name))) return false;
    return !years || (year !== null && year >= (first ?? -Infinity) && year <= (last ?? Infinity));
  };
}

/** Positions of the `count` highest scores that `passes` accepts, best first. */
function best(scores, count, passes) {
  const top = [];
  for (let position = 0; position < scores.length; position++) {
    if (top.length === count && !(scores[position] > scores[top[count - 1]])) continue;
    if (!passes(position)) continue;
    let rank = top.length;
    while (rank > 0 && scores[position] > scores[top[rank - 1]]) rank--;
    top.splice(rank, 0, position);
    if (top.length > count) top.pop();
  }
  return top;
}

/** The input without all occurrences of an entry; no older movie moves into the window. */
function without({ goal, positions, times, now }, entry) {
  const remains = positions.map((position) => position !== entry);
  const [left, leftTimes] = [positions, times].map((values) => values.filter((_, index) => remains[index]));
  return { goal, positions: left, times: leftTimes, now };
}

function logSoftmax(logits) {
  const largest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const total = logits.reduce((sum, logit) => sum + Math.exp(logit - largest), 0);
  return Float64Array.from(logits, (logit) => logit - largest - Math.log(total));
}

function toTime(seconds) {
  if (seconds === null) return UNKNOWN_TIME;
  if (!(Math.abs(seconds) < MAX_SECONDS)) {
    throw new RangeError(`a time is a number of seconds since 1970, not ${seconds}: divide milliseconds by 1000`);
  }
  return BigInt(Math.floor(seconds));
}

/** Throw RangeError unless the times of a history and its request ascend. */
function checkOrder(times) {
  const known = times.filter((time) => time !== UNKNOWN_TIME);
  const index = known.findIndex((time, other) => other > 0 && time < known[other - 1]);
  if (index > 0) {
    throw new RangeError(`second ${known[index]} follows ${known[index - 1]}: give timestamps oldest first, then now`);
  }
}

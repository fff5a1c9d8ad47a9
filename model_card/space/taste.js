/**
 * Scores for a few liked movies in any order, equal to those of `Bert4RecTaste` in Python:
 * logarithms of shares[b] + Σ_a precisions[a] · factors[a]·factors[b], less penalties for popular movies. After a single
 * movie its neighbours are raised. A movie's factors are 16-bit integers times its scale.
 */

const ARRAYS = { I16: Int16Array, I32: Int32Array, F32: Float32Array }; // by the names of safetensors
const SMALLEST_SCORE = 1e-4; // below it, a straight line replaces the logarithm, as scores may be negative
const [LISTED, SIMILAR_RANKS] = [10, [3, 5, 7]]; // after one movie, these of ten are neighbours, the others by score

export class Taste {
  #tables; // factors (movies · size); precisions, scales, shares, perhaps penalties (movies), neighbours (movies · number)

  /**
   * @param {Uint8Array} bytes of `taste.safetensors`
   * @param {number} numItems
   * @throws {Error} the file is damaged, or of another model
   */
  constructor(bytes, numItems) {
    this.#tables = readSafetensors(bytes);
    const { length } = this.#tables.shares;
    if (length !== numItems) throw new Error(`it has ${length} movies, the model ${numItems}`);
  }

  /**
   * Scores to rank by, for all movies.
   *
   * @param {number[]} liked catalogue positions; repeated ones count once
   * @returns {Float64Array}
   */
  logScores(liked) {
    const { factors, precisions, scales, shares, penalties, neighbours } = this.#tables;
    const size = factors.length / shares.length;
    const user = new Float64Array(size);
    const distinct = [...new Set(liked)];
    for (const position of distinct) {
      const weight = precisions[position] * scales[position];
      for (let k = 0; k < size; k++) user[k] += weight * factors[position * size + k];
    }
    const logScores = Float64Array.from(shares, (share, position) => {
      let product = 0;
      for (let k = 0; k < size; k++) product += user[k] * factors[position * size + k];
      return logarithm(share + scales[position] * product) - (penalties?.[position] ?? 0);
    });
    if (neighbours && distinct.length === 1) this.#raiseNeighbours(logScores, distinct[0]);
    return logScores;
  }

  /** Raise the scores of the closest neighbours to `SIMILAR_RANKS` of the first `LISTED`. */
  #raiseNeighbours(scores, movie) {
    const { neighbours, shares } = this.#tables;
    const number = neighbours.length / shares.length;
    const similar = [...neighbours.subarray(movie * number, (movie + 1) * number)].filter((position) => position >= 0);
    const others = [...scores.keys()].filter((position) => position !== movie);
    const best = others.sort((a, b) => scores[b] - scores[a]).slice(0, LISTED);
    if (best.length < LISTED) return; // a list of all movies
    const listed = [];
    for (let rank = 1; rank <= LISTED; rank++) {
      const preferred = SIMILAR_RANKS.includes(rank) ? similar : [];
      listed.push([...preferred, ...best].find((position) => !listed.includes(position)));
    }
    const values = listed.map((position) => scores[position]);
    for (const rank of SIMILAR_RANKS) {
      if (similar.includes(listed[rank - 1])) scores[listed[rank - 1]] = (values[rank - 2] + values[rank]) / 2;
    }
  }
}

/** The logarithm of a positive score, continued by a straight line. */
function logarithm(score) {
  return score > SMALLEST_SCORE ? Math.log(score) : score / SMALLEST_SCORE - 1 + Math.log(SMALLEST_SCORE);
}

/** The tables of a safetensors file: the length of a JSON header, the header, and the values. */
function readSafetensors(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const start = 8 + Number(view.getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, start)));
  const tables = Object.entries(header).map(([name, { dtype, data_offsets: [first, last] }]) => [
    name,
    new ARRAYS[dtype](bytes.slice(start + first, start + last).buffer),
  ]);
  return Object.fromEntries(tables);
}

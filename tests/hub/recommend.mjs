// Answers of recommender.js on onnxruntime-node: node recommend.mjs RECOMMENDER ONNXRUNTIME FOLDER < requests > answers

import fs from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [module, onnxruntime, folder] = process.argv.slice(2);
const { Recommender } = await import(pathToFileURL(module));
const ort = (await import(pathToFileURL(onnxruntime))).default;
const read = async (name) => new Uint8Array(fs.readFileSync(path.join(folder, name)));
const { file, requests, explained, queries, invalid } = JSON.parse(fs.readFileSync(0, "utf-8"));

const answers = {};
try {
  const recommender = await Recommender.load(folder, { ort, file, read });
  answers.recommended = await Promise.all(
    requests.map(({ history, ...options }) => recommender.recommend(history, options)),
  );
  answers.explained = await Promise.all(explained.map((request) => recommender.explain(...request)));
  answers.found = queries.map((query) => recommender.search(query).map((movie) => movie.title));
  answers.refused = await Promise.all(
    invalid.map(([history, options]) =>
      recommender.recommend(history, options).then(String, (error) => `${error.name}: ${error.message}`),
    ),
  );
} catch (error) {
  answers.error = error.message;
}
fs.writeFileSync(1, JSON.stringify(answers));

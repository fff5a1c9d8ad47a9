#!/usr/bin/env bash
# Install onnxruntime-node into .node/, for the tests of recommender.js, unless it is there or npm is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
version=1.30.0
if ! command -v npm >/dev/null; then
    echo "no npm: the tests of recommender.js are skipped"
elif [ ! -d .node/node_modules/onnxruntime-node ]; then
    npm install --prefix .node --ignore-scripts --no-audit --no-fund "onnxruntime-node@$version"
fi

#!/usr/bin/env bash
# Build the wheel, install it in an empty environment, and run its commands and its Python interface in an empty folder.
set -euo pipefail
cd "$(dirname "$0")/.."
checkout=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# From a copy of the tracked files: setuptools would add what earlier builds left in build/.
mkdir "$work/source"
git ls-files -z | xargs -0 cp --parents --target-directory "$work/source"
python3 -m venv "$work/venv"
python=$work/venv/bin/python
"$python" -m pip wheel --quiet --no-deps --wheel-dir "$work" "$work/source"
# torch first and pinned, as in the Makefile.
"$python" -m pip install --quiet --constraint constraints.txt torch
"$python" -m pip install --quiet --constraint constraints.txt "$(ls "$work"/*.whl)[train,onnx]"

mkdir "$work/empty"
cd "$work/empty"
model=outputs/ml-100k
PATH=$work/venv/bin:$PATH
hf-bert4rec train ml-100k --num_train_epochs 1 --hidden_size 32
hf-bert4rec evaluate $model
hf-bert4rec recommend $model "star wars" fargo
hf-bert4rec similar $model fargo
hf-bert4rec explain $model "star wars" fargo --json
hf-bert4rec recommend-all $model --top_k 5
hf-bert4rec export-onnx $model
hf-bert4rec recommend $model "star wars" --backend onnx
hf-bert4rec push $model someone/bert4rec-ml-100k --dry-run --include-titles --space
if hf-bert4rec train no-such-recipe; then
    echo "a recipe that does not exist was accepted" >&2
    exit 1
fi
python "$checkout/.ci/wheel.py"

#!/usr/bin/env bash
# Install Java, unless it is there, and PySpark into .venv, for the tests of training/spark.
set -euo pipefail
cd "$(dirname "$0")/.."
if ! command -v java >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends openjdk-17-jre-headless
fi
make install
.venv/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[spark]'

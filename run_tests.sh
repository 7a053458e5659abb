#!/usr/bin/env bash
# Lint, types, layers and tests. Arguments go to pytest, and then only it runs: `./run_tests.sh -k sampler`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
. .ci/venv.sh
ready "[test]"
export PATH="$PWD/.venv/bin:$PATH"
if [ $# -eq 0 ]; then
  ruff check .
  ruff format --check .
  mypy
  lint-imports --no-cache
fi
exec python -m pytest "$@"

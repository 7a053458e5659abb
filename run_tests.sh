#!/usr/bin/env bash
# Run the linter, the type checker, the import checks and the tests. With arguments, run only pytest with them:
# `./run_tests.sh -k sampler`.
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

#!/usr/bin/env bash
# Train a config; without one, run the quick test on the bundled digits. All arguments are passed to `ddpkit run`.
#
#   ./run_ddp.sh
#   ./run_ddp.sh --set train.epoch=1
#   ./run_ddp.sh my.toml --nproc 2
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
(cd "$root" && . .ci/venv.sh && ready "")
case "${1:-}" in
  *.toml | --config*) ;;
  *) set -- "$root/configs/ddp_quick_test.toml" "$@" ;;
esac
exec "$root/.venv/bin/ddpkit" run "$@"

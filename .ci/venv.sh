# Sourced by run_ddp.sh and run_tests.sh. Creates or reuses .venv, with ddpkit installed in it.
#
#   ready EXTRAS     EXTRAS is "" or "[test]"
#
# An interrupted installation is deleted. If pyproject.toml has changed since the installation, ddpkit is installed again.

ready() {
  local stamp=.venv/installed-with"$1" wanted
  wanted=$(cksum < pyproject.toml)
  if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then return; fi
  python3 -c 'import sys; sys.version_info >= (3, 11) or sys.exit("ddpkit requires Python 3.11 or newer; python3 is version " + sys.version.split()[0])'
  if [ ! -f .venv/complete ]; then
    echo "installing ddpkit into .venv; this takes a few minutes and several GB of disk space" >&2
    python3 -m venv --clear .venv
  fi
  rm -f .venv/complete
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".$1"
  touch .venv/complete
  echo "$wanted" > "$stamp"
}

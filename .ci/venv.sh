# Sourced by run_ddp.sh and run_tests.sh: makes and reuses .venv with ddpkit installed in it.
#
#   ready EXTRAS     EXTRAS is "" or "[test]"
#
# An install that was interrupted is thrown away; one that is older than pyproject.toml is brought up to date.

ready() {
  local stamp=.venv/installed-with"$1" wanted
  wanted=$(cksum < pyproject.toml)
  if [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then return; fi
  python3 -c 'import sys; sys.version_info >= (3, 11) or sys.exit("ddpkit needs Python 3.11 or newer; python3 is " + sys.version.split()[0])'
  if [ ! -f .venv/complete ]; then
    echo "installing ddpkit into .venv: a minute or two, several GB" >&2
    python3 -m venv --clear .venv
  fi
  rm -f .venv/complete
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".$1"
  touch .venv/complete
  echo "$wanted" > "$stamp"
}

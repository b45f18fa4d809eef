#!/usr/bin/env bash
# Makes .venv with the first of the given Pythons that is new enough, unless a working one is there.
set -euo pipefail

fits='import sys; sys.exit(sys.version_info < (3, 11))'

if .venv/bin/python -c "$fits" 2>/dev/null && .venv/bin/python -m pip --version >/dev/null 2>&1; then
  exit 0
fi

for python in $1; do
  "$python" -c "$fits" 2>/dev/null || continue
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    echo "$python cannot make virtual environments: it lacks ensurepip." >&2
    echo "On Debian and Ubuntu: sudo apt install python3-venv. Or name another Python: make setup PYTHON=/path/to/python3" >&2
    exit 1
  fi
  echo "==> .venv with $("$python" --version)"
  exec "$python" -m venv --clear .venv
done

echo "Trivet needs Python 3.11 or newer; none of these is: $1" >&2
echo "Name one: make setup PYTHON=/path/to/python3" >&2
exit 1

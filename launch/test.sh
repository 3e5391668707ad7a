#!/usr/bin/env bash
# Checks the code and runs the tests; arguments go to pytest.
#
#   bash launch/test.sh              what every change must pass
#   bash launch/test.sh -m slow      the tests that take minutes
#   bash launch/test.sh tests/core -x

set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
prepare test

# All of them run, and any of them fails the whole. A file stays with one process, whose
# compiled functions its tests share.
status=0
"$python" -m ruff check . || status=$?
"$python" -m ruff format --check . || status=$?
"$python" -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile "$@" || status=$?
exit "$status"

#!/usr/bin/env bash
# Trains a small model that plans in star graphs, measures it and shows samples:
# minutes on a laptop's CPU.
#
#   bash launch/quickstart.sh [WORKDIR] [--config.FIELD=VALUE ...]
#
# WORKDIR is runs/quickstart of the repository if not given. Run again, it goes on
# from where it was stopped, or straight to the evaluation of a finished run.

set -euo pipefail
workdir=
case ${1:-} in
"" | --config.*) ;;
-*)
    echo "usage: bash launch/quickstart.sh [WORKDIR] [--config.FIELD=VALUE ...]" >&2
    exit 2
    ;;
/*) workdir=$1 && shift ;;
*) workdir=$PWD/$1 && shift ;;
esac
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
prepare ""
workdir=${workdir:-$root/runs/quickstart}

"$python" -m insertion_jax.main --mode=train --workdir="$workdir" \
    --config=configs/star_graphs.py:tier=easy "$@"
"$python" -m insertion_jax.main --mode=evaluate --workdir="$workdir"
"$python" -m insertion_jax.main --mode=sample --workdir="$workdir"

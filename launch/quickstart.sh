#!/usr/bin/env bash
# Trains a small model that plans in star graphs, measures it and shows samples:
# minutes on a laptop's CPU.
#
#   bash launch/quickstart.sh [WORKDIR] [--config.FIELD=VALUE ...]
#
# WORKDIR is runs/quickstart of the repository if not given. Run again, it goes on
# from where it was stopped, or straight to the evaluation of a finished run.
# JAX_NUM_CPU_DEVICES=1 is for a --config.train.batch_size that the cores do not divide.

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

# A device for each core shares the batch between them, so that all cores work on what
# is no large product, too. A power of two, for it has to divide the batch, which is 64.
if [ -z "${JAX_NUM_CPU_DEVICES:-}" ]; then
    JAX_NUM_CPU_DEVICES=$("$python" -c \
        'import os
try:
    count = len(os.sched_getaffinity(0))
except AttributeError:
    count = os.cpu_count() or 1
print(min(8, 1 << count.bit_length() - 1))')
    export JAX_NUM_CPU_DEVICES
fi

"$python" -m insertion_jax.main --mode=train --workdir="$workdir" \
    --config=configs/star_graphs.py:tier=easy "$@"
"$python" -m insertion_jax.main --mode=evaluate --workdir="$workdir"
"$python" -m insertion_jax.main --mode=sample --workdir="$workdir"

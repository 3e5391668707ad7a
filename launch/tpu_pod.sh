#!/usr/bin/env bash
# Runs a mode of the binary on every host of a TPU slice that exists and that `gcloud`
# can reach. What is committed here is what runs there.
#
#   bash launch/tpu_pod.sh NAME ZONE --mode=train --config=... --workdir=/mnt/shared/run
#
# The hosts read and write the same WORKDIR: mount a shared file system on each first.

set -euo pipefail
if [ $# -lt 3 ]; then
    echo "usage: bash launch/tpu_pod.sh NAME ZONE --mode=... --workdir=..." >&2
    exit 2
fi
name=$1 zone=$2
shift 2
root=$(CDPATH= cd -- "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
bundle=$(mktemp -d)/insertion_jax.bundle
trap 'rm -r "$(dirname "$bundle")"' EXIT

git -C "$root" bundle create --quiet "$bundle" HEAD
gcloud compute tpus tpu-vm scp --zone="$zone" --worker=all "$bundle" "$name:"
# The flags are quoted twice: once for this shell, once for the hosts'.
gcloud compute tpus tpu-vm ssh "$name" --zone="$zone" --worker=all --command="
set -e
mkdir -p insertion_jax && cd insertion_jax && git init --quiet
git fetch --quiet ../insertion_jax.bundle HEAD && git checkout --quiet --force FETCH_HEAD
source launch/environment.sh && prepare tpu
exec \"\$python\" -m insertion_jax.main --distributed $(printf '%q ' "$@")"

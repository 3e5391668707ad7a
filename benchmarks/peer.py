"""A training step against the PyTorch peer of the same width, depth and batch.

    python benchmarks/peer.py --peer=FOLDER --cores=0

The peer is xlm-core, in a virtual environment of its own: `FOLDER/v` has it installed,
`FOLDER/data` its star graphs of the easy tier (docs/performance.md says how). Both
train on easy star graphs, 64 at a time, with 4 blocks of width 256, 4 heads and
dropout, in processes of their own that may use the same cores, in turns; in float32,
but for rows that say bfloat16: the peer under autocast, ours with `dtype=mixed`. Ours
has a device for each core. Prints a table and a line of JSON:

    examples/s   the turns' median; compilation and the first steps left out
    turns        those of each turn
    canvases/s   that number times the canvases an example is learned from at a step
    ratio        of examples/s to the peer's insertion language model in float32
    like for like  to that of the same precision
    of canvases  the ratio of canvases/s, of which the peer has one an example
"""

import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import time

import measure
from absl import app, flags

_PEER = flags.DEFINE_string("peer", None, "Folder of the peer.", required=True)
_CORES = flags.DEFINE_list("cores", ["0", "1"], "Cores that a process may use.")
_TURNS = flags.DEFINE_integer("turns", 3, "How often each is timed.", lower_bound=1)
_STEPS = flags.DEFINE_integer("steps", 30, "Of the peer, a turn.", lower_bound=10)

_ROWS = flags.DEFINE_string(
    "rows", "", "Pattern of the rows to run; both of the peer's ILM must fit."
)

_BATCH = 64
_WARM_UP = 10  # steps that are not timed
_ROOT = pathlib.Path(__file__).parents[1]
_LOWER = ", factors in bfloat16"
_ILM = "peer, ILM"
_PEERS = {_ILM: "star_easy_ilm", "peer, FlexMDM": "star_easy_flexmdm"}
_PEERS |= {name + _LOWER: experiment for name, experiment in _PEERS.items()}
_RATIO, _SAME_WEIGHTS = 4, 2.75
# Where the prompt does not see the canvas it is encoded once for all of an example's.
_ONCE = {"network.prompt_sees_canvas": False}
_ONE_TRUNK = _ONCE | {"order_network.shares_trunk": True}
# What a step learns from: the same number of canvases as the peer, or all of them. The
# MLP's hidden width over the width is the peer's, or lets a block, whose MLP has three
# matrices, have 2 % more weights than one of width 256 whose MLP has two of ratio 4.
_OURS = {
    "one canvas, uniform order": ("order=uniform", _RATIO),
    "one canvas, as many weights": ("order=uniform", _SAME_WEIGHTS),
    "every canvas, uniform order": ("order=uniform,network=trajectory", _RATIO),
    "two canvases, learned order": ("order=learned", _RATIO),
    "two canvases, learned order, prompts once, as many weights": (
        "order=learned",
        _SAME_WEIGHTS,
        _ONCE,
    ),
    "FlexMDM": ("method=flexmdm", _RATIO),
    "FlexMDM, as many weights": ("method=flexmdm", _SAME_WEIGHTS),
    # The peer has none; its nearest is FlexMDM, which learns no order from a second one.
    "two canvases, LoFlexMDM": ("method=loflexmdm", _RATIO),
    "two canvases, LoFlexMDM, as many weights": ("method=loflexmdm", _SAME_WEIGHTS),
    "two canvases, LoFlexMDM, prompts once, as many weights": (
        "method=loflexmdm",
        _SAME_WEIGHTS,
        _ONCE,
    ),
    "two canvases, LoFlexMDM on one trunk, prompts once, as many weights": (
        "method=loflexmdm",
        _SAME_WEIGHTS,
        _ONE_TRUNK,
    ),
}
_OURS |= {name + _LOWER: shape for name, shape in _OURS.items()}
_CANVASES = {"every canvas": 9, "two canvases": 2}


def main(argv):
    del argv
    if _BATCH % len(_CORES.value):
        raise app.UsageError(f"--cores must be as many as divide {_BATCH}.")
    names = [name for name in [*_PEERS, *_OURS] if re.search(_ROWS.value, name)]
    if _ILM not in names or _ILM + _LOWER not in names:
        raise app.UsageError(f"--rows must leave {_ILM!r}, at both precisions.")
    rates = {name: [] for name in names}
    for turn in range(_TURNS.value):
        for name in names:
            lower = name.endswith(_LOWER)
            if name in _PEERS:
                rate = _peer_rate(_PEERS[name], lower)
            else:
                rate = _our_rate(lower, *_OURS[name])
            rates[name].append(rate)
            print(f"turn {turn}: {name}: {rates[name][-1]:.1f} examples/s", flush=True)
    medians = {name: statistics.median(values) for name, values in rates.items()}
    first = medians[_ILM]
    rows = [
        {
            "step": name,
            "examples/s": rate,
            "turns": [round(rate, 1) for rate in rates[name]],
            "canvases/s": rate * _canvases(name),
            "ratio": rate / first,
            "like for like": rate / medians[_ILM + _LOWER * name.endswith(_LOWER)],
            "of canvases": rate * _canvases(name) / first,
        }
        for name, rate in medians.items()
    ]
    measure.show(rows, cores=",".join(_CORES.value))


def _canvases(name):
    """How many canvases of an example a step learns from; the peer from one."""
    return _CANVASES.get(name.split(",")[0], 1)


def _start(command, folder, **environment):
    """A process on the chosen cores, with as many threads as these."""
    count = str(len(_CORES.value))
    return subprocess.Popen(
        ["taskset", "--cpu-list", ",".join(_CORES.value), *command],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": count} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def _peer_rate(experiment, lower):
    """Examples a second.

    The peer's progress bar shows its first and its last step alone, so that a short run
    is taken off a long one.
    """
    short = _peer_seconds(experiment, _WARM_UP, lower)
    long = _peer_seconds(experiment, _WARM_UP + _STEPS.value, lower)
    return _BATCH * _STEPS.value / (long - short)


def _peer_seconds(experiment, num_steps, lower):
    """From when the peer's progress bar appears until it is full."""
    folder = pathlib.Path(_PEER.value).absolute()
    logs = str(folder / "logs")
    process = _start(
        [
            str(folder / "v/bin/xlm"),
            "job_type=train",
            f"job_name={experiment}",
            f"experiment={experiment}",
            "trainer_strategy=cpu",
            "num_dataloader_workers=0",
            "num_dataset_workers=1",
            "dataloader_prefetch_factor=null",
            "dataloader_persistent_workers=false",
            "dataloader_pin_memory=false",
            "trainer.num_sanity_val_steps=0",
            f"trainer.max_steps={num_steps}",
            "model.d_model=256",
            "model.num_layers=4",
            "model.nhead=4",
            "+trainer.limit_val_batches=1",
            "+trainer.limit_test_batches=1",
            "predictor.max_steps=32",
            f"++trainer.precision={'bf16-mixed' if lower else '32-true'}",
        ],
        folder,
        DATA_DIR=str(folder / "data"),
        LOG_DIR=logs,
        RUN_DIR=logs,
        PROJECT_ROOT=".",
        PYTHONUNBUFFERED="1",
        HF_HUB_OFFLINE="1",
        HF_DATASETS_OFFLINE="1",
        TOKENIZERS_PARALLELISM="false",
    )
    times, tail = {}, b""
    while chunk := os.read(process.stdout.fileno(), 65_536):
        tail = (tail + chunk)[-65_536:]
        for step in re.findall(rb"Epoch 0:[^\r\n]*? (\d+)/\d+ \[", tail):
            times.setdefault(int(step), time.perf_counter())
        if num_steps in times:
            break
    # What follows is the peer's evaluation.
    process.kill()
    process.wait()
    if not {0, num_steps} <= times.keys():
        raise SystemExit(f"The peer did not train: {tail[-2_000:].decode()}")
    return times[num_steps] - times[0]


def _our_rate(lower, choice, mlp_ratio, more=()):
    """Examples a second of benchmarks/train_step.py."""
    is_one_pass = "trajectory" in choice
    learned = "learned" in choice or "loflexmdm" in choice
    flexible = "method" in choice
    fields = {
        "network.num_layers": 4,
        "network.width": 256,
        "network.num_heads": 4,
        "network.mlp_ratio": mlp_ratio,
        "network.dropout": 0.1,
        "network.dtype": "mixed" if lower else "float32",
        "order_network.dtype": "mixed" if lower else "float32",
        "method.num_samples": 2 if learned else 1,
        "train.batch_size": _BATCH,
        "train.chunk": 20,  # of one program, as a training has; its memory is made once
    }
    fields |= dict(more)
    if not flexible:
        fields["method.num_steps"] = 0 if is_one_pass else 1
    command = [
        sys.executable,
        str(_ROOT / "benchmarks/train_step.py"),
        f"--config={_ROOT}/configs/star_graphs.py:tier=easy,{choice},size=paper",
        "--turns=4",
        *(f"--config.{name}={value}" for name, value in fields.items()),
    ]
    devices = str(len(_CORES.value))
    output, _ = _start(
        command, _ROOT, PYTHONPATH=str(_ROOT), JAX_NUM_CPU_DEVICES=devices
    ).communicate()
    lines = output.decode().splitlines()
    if not lines or not lines[-1].startswith("{"):
        raise SystemExit(f"Our step did not run: {output[-2_000:].decode()}")
    return _BATCH * json.loads(lines[-1])["steps_per_second"]


if __name__ == "__main__":
    app.run(main)

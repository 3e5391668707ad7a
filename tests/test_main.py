"""The command line: what it calls, and one sentence for each wrong input."""

import re
import subprocess
import sys

import pytest
import shipped
from absl.testing import flagsaver

from insertion_jax import command_line, main, modes, runs
from insertion_jax.types import InputError

# ml_collections reads config files by a method that Python 3.15 no longer has.
pytestmark = pytest.mark.filterwarnings("ignore:the load_module:DeprecationWarning")

SMOKE = f"--config={shipped.STAR_GRAPHS}:tier=tiny,size=smoke"
MISSING = "configs/no_such_file.py"


@pytest.fixture
def call(monkeypatch):
    """Runs a command line in this process."""

    def call(*arguments):
        argv = ["main.py", *map(str, arguments)]
        # Where overrides of the config are looked up.
        monkeypatch.setattr(sys, "argv", argv)
        with flagsaver.flagsaver():
            main.main(command_line.parse(argv))

    return call


@pytest.fixture
def refusal(call, tmp_path):
    """Gives the sentence that answers a command line, which must write nothing."""

    def refusal(*arguments):
        before = contents(tmp_path)
        with pytest.raises(InputError) as caught:
            call(*arguments)
        assert contents(tmp_path) == before
        text = str(caught.value)
        assert "\n" not in text
        assert "Traceback" not in text
        assert text[-1] in ".?"
        assert len(text) < 400
        return text

    return refusal


@pytest.fixture
def workdir(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def untrained(workdir):
    """The directory of a run without checkpoints."""
    runs.claim(workdir, shipped.star_graphs("tier=tiny,size=smoke"))
    return workdir


def contents(folder):
    return {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")}


# What it calls.


def test_calls_the_mode_with_its_flags(call, monkeypatch, tmp_path):
    called = []
    for name in modes.MODES:
        monkeypatch.setattr(
            modes,
            name,
            lambda *args, name=name, **more: called.append((name, args, more)),
        )
    monkeypatch.chdir(tmp_path)
    call("--workdir=run", SMOKE, "--config.train.seed=3", "--noconfig.train.fsdp")
    call("--mode=evaluate", "--workdir=run", "--split=validation", "--top_p=0.5")
    call("--mode=sample", "--workdir=run", "--nogreedy", "--seed=7", "--prompt=0>1")
    call("--mode=orders", "--workdir=run", "--num_samples=9")
    (name, (config, workdir), _), evaluated, sampled, ordered = called
    assert (name, config.train.seed, workdir) == ("train", 3, tmp_path / "run")
    assert evaluated == (
        "evaluate",
        (tmp_path / "run", "validation", {"top_p": 0.5}, 0),
        {"num_samples": None, "samples_per_problem": None},
    )
    assert sampled == (
        "sample",
        (tmp_path / "run", "test", {"greedy": False}, 7),
        {"num_samples": None, "prompt": "0>1", "with_bounds": False},
    )
    assert ordered == (
        "orders",
        (tmp_path / "run", "test", {}, 0),
        {"num_samples": 9},
    )


# One sentence for each wrong input.


def test_a_wrong_input_ends_the_process_with_one_line(workdir):
    done = subprocess.run(
        [
            *(sys.executable, "-m", "insertion_jax.main", f"--workdir={workdir}"),
            *(SMOKE, "--config.train.chunk=7"),
        ],
        cwd=shipped.REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        "error: In section 'train': chunk is 7, which does not divide num_steps, 20; "
        "use a chunk that divides num_steps and every period.\n"
    )
    assert not workdir.exists()


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (["--mod=train"], ["'mod'", "mode"]),
        (["--mode=trian"], ["trian", "train|evaluate|sample"]),
        (["--split=tests"], ["tests", "train|validation|test"]),
        (["--num_samples=0"], ["num_samples", "positive integer"]),
        (["--num_samples=x"], ["--num_samples=x", "a whole number"]),
        (["--temperature=x"], ["--temperature=x", "a number"]),
        (["--greedy=x"], ["--greedy=x", "true or false"]),
        (["--seed=-1"], ["--seed=-1", "non-negative"]),
        (["train"], ["'train'", "flags start with --"]),
        ([], ["--config is missing", "configs/star_graphs.py"]),
        ([f"--config={MISSING}"], [f"no config file '{MISSING}'"]),
        (["--config", MISSING], [f"no config file '{MISSING}'"]),
        ([f"--config={MISSING}:tier=easy"], [f"no config file '{MISSING}' to read"]),
        (
            [f"--config={MISSING}"],
            ["configs/ has fragments.py, linkers.py, mazes.py, mol"],
        ),
        (["--config="], ["--config is ''; it must name a Python file"]),
        (["--config=README.md"], ["'README.md'; it must name a Python file"]),
        ([f"--config={MISSING}", "--config.x=1"], [f"no config file '{MISSING}'"]),
        (["--config.x=1"], ["--config.x needs", "--config=FILE"]),
        (["--config.x=1", SMOKE], ["--config.x=1", "before a value for --config"]),
    ],
)
def test_wrong_flags(refusal, workdir, arguments, parts):
    text = refusal(f"--workdir={workdir}", *arguments)
    for part in parts:
        assert part in text


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("tier=huge", "tier is 'huge' in .*; allowed are tiny, easy, medium, hard."),
        (
            "method=no",
            "method is 'no' in .*; allowed are insertion_process, flexmdm, loflexmdm.",
        ),
        (
            "order=no",
            "order is 'no' in .*; allowed are learned, uniform, left_to_right, task.",
        ),
        ("network=no", "network is 'no' in .*; allowed are canvas, trajectory."),
        ("size=no", "size is 'no' in .*; allowed are cpu, paper, smoke."),
        ("teir=easy", "no choice 'teir'; it has tier, method, .*, network, size."),
        ("easy", "no choice 'easy'; it has tier, method, order, network, size."),
    ],
)
def test_wrong_choices(refusal, workdir, argument, sentence):
    text = refusal(f"--workdir={workdir}", f"--config={shipped.STAR_GRAPHS}:{argument}")
    assert_matches(sentence, text)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("nonsense=1", "no --config.nonsense: config has evaluate, method, .*, train."),
        (
            "train.batchsize=3",
            "no --config.train.batchsize: config.train has batch_size, .*, seed.",
        ),
        (
            "train.seed.x=3",
            "no --config.train.seed.x: config.train.seed has no fields.",
        ),
        ("train.batch_size=abc", "--config.train.batch_size=abc: .* a whole number."),
        ("train.batch_size=1.5", "--config.train.batch_size=1.5: .* a whole number."),
        ("optim.clip_norm=abc", "--config.optim.clip_norm=abc: expected a number."),
        ("train.fsdp=abc", "--config.train.fsdp=abc: expected true or false."),
        ("optim.group_scale=abc", "--config.optim.group_scale=abc: expected a dict"),
        ("task.name=mazez", "task.name is 'mazez'; allowed are .*, molecules, "),
        ("task.tier=huge", "'huge': the tiers are tiny, easy, medium, hard."),
        (
            "method.name=no",
            "method.name is 'no'; allowed are flexmdm, insertion_process, loflexmdm.",
        ),
        ("method.termination=no", "termination must be .*'policy', 'eos'.*, got 'no'."),
        ("method.order=uniform", "group_scale names 'order', .* groups are 'policy'."),
        ("network.num_heads=3", "width 16 is not a multiple of num_heads 3."),
        ("optim.schedule=no", "schedule is 'no'; allowed are cosine, constant."),
        ("train.batch_size=12", "12 .* 8 devices; the nearest sizes .* 8 and 16."),
        ("task.num_validation=0", "num_validation is 0, but must be at least 1."),
        ("task.num_test=-1", "num_test is -1, but must be at least 1."),
        ("method.num_steps=-1", "num_steps is -1, but must be at least 0."),
        ("network.kind=no", "network.kind is 'no'; allowed are canvas, trajectory."),
        ("method.num_samples=1", "learned order needs num_samples of at least 2"),
        ("method.bound_samples=0", "bound_samples is 0, but must be at least 1."),
        ("network.num_heads=0", "num_heads is 0, but must be at least 1."),
        ("network.mlp_ratio=0", "mlp_ratio is 0.0; times width 16 it must be finite"),
        ("network.dropout=1", r"dropout is 1.0; it must lie in \[0, 1\)."),
        ("train.num_steps=0", "num_steps is 0, but must be at least 1."),
        ("train.placement=no", "placement is 'no'; allowed are pmap, sharded."),
        ("train.fsdp=true", "fsdp .* use placement 'sharded'."),
        ("task.num_train=4", "4 examples, fewer than the 8 of one batch"),
        ("evaluate.batch_size=0", "evaluate.batch_size is 0, .* at least 1."),
        ("sample.temperature=0", "temperature is 0.0; it must be positive"),
        ("sample.top_p=1.5", r"top_p is 1.5; it must lie in \(0, 1\]."),
    ],
)
def test_wrong_fields(refusal, workdir, override, sentence):
    text = refusal(f"--workdir={workdir}", SMOKE, f"--config.{override}")
    assert_matches(sentence, text)


def test_a_broken_config_file_keeps_its_traceback(call, tmp_path):
    path = tmp_path / "broken.py"
    path.write_text("def get_config():\n    return {}['missing']\n")
    with pytest.raises(KeyError, match="missing"):
        call(f"--workdir={tmp_path / 'run'}", f"--config={path}")


@pytest.mark.parametrize("mode", [mode for mode in modes.MODES if mode != "prepare"])
def test_workdir_is_missing(refusal, mode):
    config = [SMOKE] if mode == "train" else []
    for workdir in ([], ["--workdir="]):
        text = refusal(f"--mode={mode}", *config, *workdir)
        assert text == "--workdir is missing: it names the directory of the run."


def test_preparing_needs_no_workdir(call, refusal, capsys):
    assert_matches("--config is missing: preparing data", refusal("--mode=prepare"))
    call("--mode=prepare", SMOKE)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("star_graphs_tiny: ")
    assert lines[1].startswith("  train: 200 rows of ")


def test_workdir_is_an_address(refusal):
    text = refusal("--workdir=gs://bucket/run", SMOKE)
    assert_matches("--workdir is 'gs://bucket/run'; it must be a folder", text)


def test_workdir_is_a_file(refusal, tmp_path):
    path = tmp_path / "file"
    path.write_text("precious")
    assert "is a file" in refusal(f"--workdir={path}", SMOKE)
    assert "cannot be made" in refusal(f"--workdir={path / 'run'}", SMOKE)
    assert "no config.json" in refusal("--mode=evaluate", f"--workdir={path}")


def test_workdir_is_of_another_config(refusal, untrained):
    text = refusal(f"--workdir={untrained}", SMOKE, "--config.train.seed=3")
    assert "train.seed is 0 there and 3 here" in text


@pytest.mark.parametrize("mode", ["evaluate", "sample"])
class TestModesThatNeedARun:
    def test_no_run(self, refusal, workdir, mode):
        text = refusal(f"--mode={mode}", f"--workdir={workdir}")
        assert "holds no config.json" in text
        assert "--mode=train" in text

    def test_a_config_that_is_no_json(self, refusal, untrained, mode):
        (untrained / "config.json").write_text("{")
        text = refusal(f"--mode={mode}", f"--workdir={untrained}")
        assert "config.json is not valid JSON" in text

    def test_no_checkpoints(self, call, untrained, mode):
        before = contents(untrained)
        with pytest.raises(ValueError, match="There are no checkpoints in"):
            call(f"--mode={mode}", f"--workdir={untrained}")
        assert contents(untrained) == before

    @pytest.mark.parametrize(
        ("flag", "sentence"),
        [
            ("--temperature=0", "temperature is 0.0; it must be positive and finite"),
            ("--temperature=-1", "temperature is -1.0; it must be positive and finite"),
            ("--temperature=nan", "temperature is nan; it must be positive and finite"),
            ("--temperature=inf", "temperature is inf; it must be positive and finite"),
            ("--top_p=0", r"top_p is 0.0; it must lie in \(0, 1\]."),
            ("--top_p=1.01", r"top_p is 1.01; it must lie in \(0, 1\]."),
            ("--top_p=nan", r"top_p is nan; it must lie in \(0, 1\]."),
        ],
    )
    def test_an_option_out_of_range(self, refusal, untrained, mode, flag, sentence):
        text = refusal(f"--mode={mode}", f"--workdir={untrained}", flag)
        assert_matches(sentence, text)


@pytest.mark.parametrize("mode", ["evaluate", "sample"])
@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--distributed"], "--distributed is for --mode=train; --mode=.* ignore it."),
        ([SMOKE], "--config is for --mode=train and prepare; --mode=.* ignore it."),
        (
            ["--greedy", "--top_p=0.5"],
            "--greedy goes without --temperature and --top_p",
        ),
    ],
)
def test_flags_that_exclude_one_another(refusal, untrained, mode, flags, sentence):
    text = refusal(f"--mode={mode}", f"--workdir={untrained}", *flags)
    assert_matches(sentence, text)


@pytest.mark.parametrize(
    ("mode", "flag", "modes"),
    [
        ("train", "--temperature=1", "evaluate, sample and orders"),
        ("train", "--model=moses", "evaluate, sample, orders and export"),
        ("prepare", "--num_samples=3", "evaluate, sample and orders"),
        ("evaluate", "--prompt=0>1", "sample"),
        ("orders", "--bounds", "sample"),
        ("sample", "--samples_per_problem=2", "evaluate"),
        ("export", "--seed=1", "evaluate, sample and orders"),
    ],
)
def test_flags_of_other_modes(refusal, untrained, mode, flag, modes):
    text = refusal(f"--mode={mode}", f"--workdir={untrained}", flag)
    name = flag.partition("=")[0]
    assert text == f"{name} is for --mode={modes}; --mode={mode} would ignore it."


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("--num_samples=21", "num_samples is 21, but the test split has 20 examples."),
        (
            "--prompt=anything",
            "Cannot read the prompt 'anything': write .* from 0 to 5",
        ),
        ("--prompt=", "Cannot read the prompt ''"),
        ("--prompt=0>12 from 0 to 12", "Node 12 does not exist: .* are 0 to 9."),
        ("--prompt=0>1 from 0 to 2", "The goal 2 is on none of the prompt's edges."),
        ("--prompt=0>1 from 1 to 1", "Source and goal are both 1"),
    ],
)
def test_nothing_to_sample_for(refusal, untrained, flag, sentence):
    text = refusal("--mode=sample", f"--workdir={untrained}", flag)
    assert_matches(sentence, text)


def assert_matches(sentence, text):
    assert re.search(sentence, text), text

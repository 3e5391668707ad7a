"""What docs/molecules.md tells to type can be typed."""

import pathlib
import re
import shlex

import pytest
import shipped

from insertion_jax import modes
from insertion_jax.chemistry import files, fragment_constraints, fragments

TEXT = (shipped.REPOSITORY / "docs" / "molecules.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", TEXT, re.DOTALL)


def commands():
    """Of every shell block, one a line, joined where a line goes on."""
    shell = "".join(block for kind, block in BLOCKS if kind == "bash")
    shell = shell.replace("\\\n", " ")
    small = re.search(r'SMALL="(.*?)"', shell)[1]
    lines = shell.replace("$SMALL", small).splitlines()
    return [shlex.split(line) for line in lines if "insertion_jax.main" in line]


def flags(command):
    """By name; of one that comes twice, the last."""
    parts = (part[2:].partition("=") for part in command if part.startswith("--"))
    return {name: value for name, _, value in parts}


COMMANDS = [flags(command) for command in commands()]


def test_there_are_commands_of_every_mode_and_config():
    assert {given["mode"] for given in COMMANDS} == set(modes.MODES)
    named = {given["config"].split(":")[0] for given in COMMANDS if "config" in given}
    assert named == {f"configs/{n}.py" for n in ("molecules", "linkers", "fragments")}


@pytest.mark.parametrize("given", [g for g in COMMANDS if "config" in g], ids=str)
def test_configs_load(given):
    file, _, argument = given["config"].partition(":")
    config = shipped.config(pathlib.Path(file).stem, argument)
    for name in given:
        if name.startswith("config."):
            section, field = name.split(".")[1:]
            assert field in config[section], name


def test_prompts_can_be_read():
    prompts = {
        given["workdir"]: given["prompt"] for given in COMMANDS if "prompt" in given
    }
    assert len(fragments.parse_fragments(prompts["runs/linkers"])) == 2
    fragment_constraints.check_open_ends(prompts["runs/fragments"])


def test_the_file_of_fragments_can_be_read(tmp_path):
    (content,) = (block for kind, block in BLOCKS if kind == "csv")
    path = tmp_path / "asked.csv"
    path.write_text(content)
    lines = files.read_problems(path)
    # One line is wrong, as the tutorial says.
    assert [line.number for line in lines.bad] == [4]


def test_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)#:]+)\)", TEXT):
        assert (shipped.REPOSITORY / "docs" / link).exists(), link
    assert "docs/molecules.md" in (shipped.REPOSITORY / "README.md").read_text()

"""People's files: every line is used or named."""

import gzip

import pytest

from insertion_jax.chemistry import files
from insertion_jax.types import InputError


def write(folder, name, text):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_smi(tmp_path):
    path = write(tmp_path, "a.smi", "# mine\nOCC ethanol\n\nC1CC broken\nc1ccccc1\tx\n")
    lines = files.read_molecules(path)
    assert lines.values == ["CCO", "c1ccccc1"]
    assert lines.numbers == [2, 5]
    ((number, text, reason),) = lines.bad
    assert (number, text) == (4, "C1CC broken")
    assert reason == "'C1CC' is not a molecule that rdkit can read."


@pytest.mark.parametrize(
    "text",
    [
        "id,SMILES,note\n1,OCC,x\n2,CC,\n",
        "OCC,x\nCC,y\n",
        "\ufeffsmiles\nOCC\nCC\n",
        '"OCC","a, b"\n"CC","c"\n',
    ],
)
def test_csv(tmp_path, text):
    assert files.read_molecules(write(tmp_path, "a.csv", text)).values == ["CCO", "CC"]


def test_column(tmp_path):
    path = write(tmp_path, "a.csv", "smiles,drug\nC,OCC\nC,CC\n")
    assert files.read_molecules(path, column="drug").values == ["CCO", "CC"]
    with pytest.raises(InputError, match="has no column 'drugs' in its first line"):
        files.read_molecules(path, column="drugs")


def test_packed(tmp_path):
    path = write(tmp_path, "a.txt.gz", gzip.compress(b"OCC\n"))
    assert files.read_molecules(path).values == ["CCO"]


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("a.smi", "C1CC\nnothing\n", "a.smi has no valid molecule. Line 1: 'C1CC' is"),
        ("a.smi", "", "a.smi has no valid molecule."),
        ("a.smi", b"\xff\xfe\x00", "it is not text in UTF-8 (byte 0)"),
        ("a.smi.gz", b"CCO", "a.smi.gz cannot be read"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, name, text, complaint):
    with pytest.raises(InputError) as caught:
        files.read_molecules(write(tmp_path, name, text))
    assert complaint in str(caught.value)


def test_missing_files(tmp_path):
    with pytest.raises(InputError, match="cannot be read: No such file or directory"):
        files.read_molecules(tmp_path / "none.smi")
    with pytest.raises(InputError, match="cannot be read: Is a directory"):
        files.read_molecules(tmp_path)


def test_report(tmp_path):
    text = "CCO\n" + "C1\n" * 7
    lines = files.read_molecules(write(tmp_path, "a.smi", text))
    report = files.report(lines, "a.smi")
    assert report.startswith("a.smi: 1 of 8 lines can be used.\n  line 2: 'C1' is not")
    assert report.endswith("\n  and lines 7, 8")


ROWS = [
    "O=C(Cc1ccccc1)NC1CC1,O=C(C[*:1])N[*:2],c1ccccc1[*:1].C1CC1[*:2]",
    # Ends without numbers, both ways round.
    "O=C(Cc1ccccc1)NC1CC1,*CC(=O)N*,c1ccccc1[*:1].C1CC1[*:2]",
    "O=C(Cc1ccccc1)NC1CC1,*NC(=O)C*,c1ccccc1[*:1].C1CC1[*:2]",
]


@pytest.mark.parametrize(
    ("name", "header", "separator"),
    [
        ("a.csv", "", ","),
        ("a.csv", "molecule,linker,fragments\n", ","),
        ("a.txt", "", " "),
        ("a.tsv", "", "\t"),
    ],
)
def test_linkers(tmp_path, name, header, separator):
    text = header + "\n".join(row.replace(",", separator) for row in ROWS)
    cuts = files.read_linkers(write(tmp_path, name, text)).values
    assert len(cuts) == 3
    assert {cut.linker for cut in cuts} == {"O=C(C[*:1])N[*:2]"}
    assert cuts[0].fragments == ("c1ccc([*:1])cc1", "C1CC1[*:2]")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("CCO,*C*", "The line has 2 of the three columns"),
        ("C1CO,*C*,C*.O*", "'C1CO' is not a molecule"),
        ("CCO,*C,C*.O*", "The linker '*C' must be one piece with two attachment"),
        ("CCO,*C*,C.O*", "The fragment 'C' has no attachment point"),
        ("CCCO,*C*,C*.O*", "do not make the molecule 'CCCO'"),
    ],
)
def test_lines_that_are_no_linkers(tmp_path, row, reason):
    path = write(tmp_path, "a.csv", f"{ROWS[0]}\n{row}\n")
    lines = files.read_linkers(path)
    assert len(lines.values) == 1
    assert lines.bad[0].number == 2
    assert reason in lines.bad[0].reason
    with pytest.raises(InputError, match=r"b\.csv has no linker\. Line 1: "):
        files.read_linkers(write(tmp_path, "b.csv", row))


def test_fragments(tmp_path):
    path = write(tmp_path, "a.txt", "c1ccccc1[*:1].CC(=O)N[*:2]\nCC\n")
    lines = files.read_fragments(path)
    assert lines.values == [("c1ccc([*:1])cc1", "CC(=O)N[*:2]")]
    assert "has 1 part" in lines.bad[0].reason


def test_problems(tmp_path):
    path = write(
        tmp_path,
        "a.csv",
        "name,linker_design,motif_extension,smiles\n"
        "one,C1CC1*.c1ccccc1*,*c1ccccc1,O=C(Cc1ccccc1)NC1CC1\n"
        "two,,[*:1]CC,CCO\n"
        "three,CC,,CCO\n"
        "four,,,CCO\n"
        "five,C*.C*\n",
    )
    lines = files.read_problems(path)
    assert lines.numbers == [2, 3]
    assert [[p.task for p in some] for some in lines.values] == [
        ["linker_design", "motif_extension"],
        ["motif_extension"],
    ]
    assert lines.values[1][0].molecule == "CCO"
    assert [(line.number, line.reason) for line in lines.bad] == [
        (4, "'CC' has 1 part, but linker_design takes 2."),
        (5, "The line has no fragment."),
        (6, "The line has fewer columns than the first one."),
    ]


def test_problems_a_line_each(tmp_path):
    path = write(tmp_path, "a.txt", "*c1ccccc1\nc1ccccc1 Cc1ccccc1\nC*.C* CCC C1\n")
    (one, two, three) = files.read_problems(path).values
    assert one[0] == ("motif_extension", "*c1ccccc1", None)
    assert two[0] == ("superstructure_generation", "c1ccccc1", "Cc1ccccc1")
    assert three[0].task == "linker_design"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "has no fragment."),
        ("# nothing\n\nC1CC\n", "has no fragment. Line 3: 'C1CC' is not a molecule"),
    ],
)
def test_files_without_a_problem(tmp_path, text, complaint):
    with pytest.raises(InputError) as caught:
        files.read_problems(write(tmp_path, "a.txt", text))
    assert complaint in str(caught.value)

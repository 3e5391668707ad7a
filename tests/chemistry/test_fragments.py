"""Double cuts: the pieces give the molecule back, and nothing else passes."""

import pytest

from insertion_jax.chemistry import fragments, molecules, rdkit_molecules, smiles
from insertion_jax.chemistry.fragments import Cut, CutRule, LinkerStrings
from insertion_jax.types import InputError

ANY = CutRule(min_linker=1, min_fragment=1, min_path=1, linker_is_smallest=False)


@pytest.fixture(scope="module")
def cuts():
    real = rdkit_molecules.screening()[:30] + rdkit_molecules.cancer_institute()[:40]
    return [cut for text in real for cut in fragments.double_cuts(text, ANY)][::3]


def test_pieces_are_the_molecule(cuts):
    assert len(cuts) > 200
    for cut in cuts:
        strings = fragments.linker_strings(cut)
        whole = "".join(strings)
        assert molecules.flat(whole) == cut.molecule
        parts = [smiles.tokenize(part) for part in strings]
        assert smiles.tokenize(whole) == [token for part in parts for token in part]
        rings = [{t for t in part if smiles.kind(t) == "ring"} for part in parts]
        assert len(set.union(*rings)) == sum(map(len, rings))


def test_pieces_keep_to_themselves(cuts):
    # Rings and branches of each piece are closed in it: alone it is a molecule.
    for cut in cuts:
        first, linker, second = fragments.linker_strings(cut)
        for part in (f"{first}*", f"*{linker}*", f"*{second}"):
            mol = molecules.parse(part)
            assert mol is not None
            assert molecules.is_connected(mol)


def test_fragments_do_not_depend_on_the_linker(cuts):
    for cut in cuts[:50]:
        strings = fragments.linker_strings(cut)
        alone = fragments.fragment_strings(
            fragments.parse_fragments(".".join(cut.fragments))
        )
        assert alone == (strings.first, strings.second)


def test_example():
    cut = Cut("O=C(Cc1ccccc1)NC1CC1", "O=C(C[*:1])N[*:2]", ("*c1ccccc1", "C1CC1*"))
    cut = cut._replace(fragments=fragments.parse_fragments("*c1ccccc1.C1CC1*"))
    assert fragments.linker_strings(cut) == LinkerStrings(
        "c1(ccccc1)", "CC(=O)N", "C2CC2"
    )


def test_a_chain_through_a_ring_leaves_its_rest_in_parentheses():
    pair = fragments.parse_fragments("c1ccccc1[*:1].c1cc[nH]c1[*:2]")
    assert fragments.linker_string("[*:1]c1ccc([*:2])cc1", pair) == "-c3ccc(cc3)-"


def test_rule():
    def linkers(rule):
        cuts = fragments.double_cuts("O=C(Cc1ccccc1)NCc1ccccc1", rule)
        return {fragments.plain_linker(cut.linker) for cut in cuts}

    def plain(*texts):
        return {fragments.plain_linker(text) for text in texts}

    every = linkers(ANY)
    assert every > plain("*C*", "*CC(=O)NC*", "*CC(=O)N*")
    assert linkers(ANY._replace(min_linker=2)) == every - plain("*C*")
    assert linkers(ANY._replace(min_path=2)) == every - plain("*C*")
    assert linkers(ANY._replace(min_fragment=7)) < every
    # DeLinker's: three atoms or more, and fragments of five or more.
    assert linkers(fragments.DELINKER) == plain(
        "*CC(=O)NC*", "*CC(=O)N*", "*C(=O)NC*", "*C(=O)N*"
    )
    assert not linkers(fragments.DELINKER._replace(min_fragment=9))


def test_the_linker_is_smallest():
    text = "Cc1ccc(cc1)CCCCCCc1ccccc1"
    rule = fragments.DELINKER
    sizes = [
        max(cut.linker.upper().count("C") for cut in fragments.double_cuts(text, r))
        for r in (rule, rule._replace(linker_is_smallest=False, min_fragment=1))
    ]
    assert sizes[0] == 6 < sizes[1]


def test_cuts_do_not_depend_on_the_spelling():
    one = fragments.double_cuts("O=C(Cc1ccccc1)NCc1ccc(F)cc1")
    other = fragments.double_cuts("Fc1ccc(CNC(=O)Cc2ccccc2)cc1")
    assert one == other
    assert len(one) == len(set(one)) > 1


def test_mixtures_are_not_cut():
    assert fragments.double_cuts("O=C(Cc1ccccc1)NCc1ccccc1.Cl") == []


def test_stereo_marks_are_dropped():
    (molecule,) = {
        cut.molecule for cut in fragments.double_cuts("C[C@H](c1ccccc1)CCc1ccccc1", ANY)
    }
    assert molecule == molecules.flat("CC(c1ccccc1)CCc1ccccc1")


def test_plain_linkers_have_no_direction():
    ways = fragments.numbered_linkers("*CC(=O)N*")
    assert len(ways) == 2
    assert {fragments.plain_linker(way) for way in ways} == {
        fragments.plain_linker("*CC(=O)N*")
    }
    assert len(fragments.numbered_linkers("*CC*")) == 1
    assert fragments.numbered_linkers("[*:2]CN[*:1]") == ("C(N[*:1])[*:2]",)


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("c1ccccc1[*:1].CC(=O)N[*:2]", ("c1ccc([*:1])cc1", "CC(=O)N[*:2]")),
        ("CC(=O)N[*:2].c1ccccc1[*:1]", ("c1ccc([*:1])cc1", "CC(=O)N[*:2]")),
        ("CC(=O)N*.*c1ccccc1", ("CC(=O)N[*:1]", "c1ccc([*:2])cc1")),
    ],
)
def test_parse_fragments(text, pair):
    assert fragments.parse_fragments(text) == pair


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("CC*", "'CC*' has 1 part: two fragments are needed"),
        ("C*.C*.C*", "has 3 parts"),
        ("CC.C*", "The fragment 'CC' has no attachment point: mark the one atom"),
        ("*C*.C*", "The fragment '*C*' has 2 attachment points"),
        ("C=*.C*", "The attachment point of the fragment 'C=*' must have one single"),
        ("C[*:1].C[*:1]", "must be [*:1] and [*:2], one in each fragment"),
        ("C[*:1].C[*:3]", "must be [*:1] and [*:2], one in each fragment"),
        ("C(*.C*", "The fragment 'C(*' cannot be read by rdkit."),
    ],
)
def test_fragments_that_cannot_be_used(text, complaint):
    with pytest.raises(InputError) as caught:
        fragments.parse_fragments(text)
    assert complaint in str(caught.value)


def test_pieces_of_another_molecule_are_refused():
    cut = Cut("CCCCO", "C(C[*:2])[*:1]", ("C[*:1]", "O[*:2]"))
    with pytest.raises(InputError, match="do not make the molecule 'CCCCO'"):
        fragments.linker_strings(cut)
    assert "".join(fragments.linker_strings(cut._replace(molecule="CCCO"))) == "CCCO"


@pytest.mark.parametrize("linker", ["CC", "*C", "*C*.C", "C1*", "[*:1]C[*:3]"])
def test_linkers_that_cannot_be_used(linker):
    with pytest.raises(InputError, match="linker"):
        fragments.numbered_linkers(linker)

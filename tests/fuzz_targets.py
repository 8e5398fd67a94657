"""What `fuzzing` attacks, and how good inputs are damaged."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from ase.spacegroup import crystal

from tests.cif_text import SITES, cubic

# What parsers stumble over, beside damaged bytes.
_TOKENS = [
    *(b"nan", b"inf", b"-inf", b"1e999", b"-1", b"0", b"1e-320", b"9" * 400, b"0x41", b"1/0", b"?"),
    *(
        b".",
        b"'",
        b'"',
        b";",
        b"\n;\n",
        b"loop_",
        b"data_",
        b"#",
        b"\\",
        b"\x00",
        b"\xff\xfe",
        b"\r",
    ),
    *(b"[" * 2000, b"{" * 2000, b"(" * 2000, b"T", b"null", b"true", b'{"a":', b"[[[[", b"]", b"}"),
    *(b"4294967296", b"-2147483649", b"1000000000", b"Lattice=", b"Properties=species:S:1:pos:R:3"),
    *(b"../../../../tmp/escape", b"/etc/passwd", b"$(id)", b"__import__('os')", b"\xe2\x80\xae"),
    *(
        b"_symmetry_Int_Tables_number 225",
        b"_atom_site_occupancy",
        b"Uuo",
        b"X",
        b"D",
        b"e",
        b"\t" * 99,
    ),
]


_NUMBERS = [
    *(b"0", b"-1", b"1", b"2.5", b"119", b"1e9", b"1e308", b"-1e-300", b"65536", b"2147483648"),
    *(b"1000000000000", b"99999999999999999999", b"nan", b"inf", b'"7"', b"null", b"true", b"[1]"),
]


@dataclass(frozen=True)
class Target:
    """Something that reads what others wrote.

    Parameters
    ----------
    name : str
    seeds : list of bytes
        Good inputs.
    read : callable
        (input, folder) to anything; may raise the documented errors only.
    """

    name: str
    seeds: list[bytes]
    read: Callable[[bytes, Path], object]


def mutate(seeds: Sequence[bytes], rng: np.random.Generator) -> bytes:
    """Return a good input with some damage: of bytes, of words, of lines, or of all at once."""
    text = bytearray(seeds[rng.integers(len(seeds))])
    for _ in range(rng.geometric(0.5)):
        n = len(text)
        at = int(rng.integers(n + 1))
        end = min(n, at + int(rng.integers(1, 40)))
        kind = int(rng.integers(11))
        if kind == 0 and n:
            text[at % n] = int(rng.integers(256))
        elif kind == 1:
            del text[at:end]
        elif kind == 2:
            text[at:at] = bytes(rng.integers(0, 256, size=8, dtype=np.uint8))
        elif kind == 3:
            text[at:at] = _TOKENS[rng.integers(len(_TOKENS))]
        elif kind in (4, 5):  # a whole word becomes something else
            words = bytes(text).split(b" ")
            words[rng.integers(len(words))] = _TOKENS[rng.integers(len(_TOKENS))]
            text = bytearray(b" ".join(words))
        elif kind == 6:  # lines twice, or elsewhere
            lines = bytes(text).split(b"\n")
            line = lines[rng.integers(len(lines))]
            lines.insert(int(rng.integers(len(lines) + 1)), line)
            text = bytearray(b"\n".join(lines))
        elif kind == 7:
            text[at:end] = seeds[rng.integers(len(seeds))][:40]
        elif kind in (8, 9):  # a number becomes another
            numbers = list(re.finditer(rb"-?\d+(\.\d+)?", bytes(text)))
            if numbers:
                start, stop = numbers[rng.integers(len(numbers))].span()
                text[start:stop] = _NUMBERS[rng.integers(len(_NUMBERS))]
        elif rng.random() < 0.2:
            text = text[:at]
    return bytes(text)


def targets(folder: Path) -> list[Target]:
    """Return what is attacked; a small model is made in the folder."""
    from ase_continuousp.io import from_atoms, from_cif_text, read_atoms
    from ase_continuousp.model.checkpoint import CARD, WEIGHTS, load_model
    from ase_continuousp.search.composition import parse_formula
    from ase_continuousp.starts.priors import Priors
    from tests.tiny_model import save_tiny_model

    good = save_tiny_model(folder / "good")
    card, weights = (good / CARD).read_bytes(), (good / WEIGHTS).read_bytes()
    priors = (good / "priors.json").read_bytes()
    salt = bulk("NaCl", "rocksalt", a=5.64)
    salt.calc = SinglePointCalculator(salt, energy=-1.0, forces=np.zeros((2, 3)))
    salt.info.update(note="a salt", flags=np.arange(3))
    rutile = crystal(
        ["Ti", "O"],
        [(0, 0, 0), (0.3, 0.3, 0)],
        spacegroup=136,
        cellpar=[4.6, 4.6, 2.95, 90, 90, 90],
    )

    def cif(data: bytes, _: Path) -> object:
        return from_cif_text(data.decode("utf-8", errors="replace"))

    def extxyz(data: bytes, where: Path) -> object:
        path = where / "input.extxyz"
        path.write_bytes(data)
        return from_atoms(read_atoms(path))

    def model(card: bytes, weights: bytes, where: Path) -> object:
        (where / CARD).write_bytes(card)
        (where / WEIGHTS).write_bytes(weights)
        loaded = load_model(where)
        loaded.require_elements(loaded.elements[:1])
        return loaded.energy(device="cpu")

    def priors_file(data: bytes, where: Path) -> object:
        path = where / "priors.json"
        path.write_bytes(data)
        return Priors.load(path)

    formulas = [
        "SrTiO3",
        "Ca(OH)2",
        "Al2(SO4)3",
        "NaCl",
        "((Fe2)3O4)2",
        "C60",
        "Pb(Zr3Ti)O12",
        "H2O",
    ]
    return [
        # Symmetry takes pymatgen a hundred times as long as a list of sites.
        Target("cif", [*([_text(salt, "cif"), _text(rutile, "cif")] * 4), _SYMMETRIC], cif),
        Target("extxyz", [_text(salt, "extxyz"), _text(rutile, "extxyz")], extxyz),
        Target("card", [card], lambda data, where: model(data, weights, where)),
        Target("safetensors", [weights], lambda data, where: model(card, data, where)),
        Target("priors", [priors], priors_file),
        Target(
            "formula",
            [text.encode() for text in formulas],
            lambda data, _: parse_formula(data.decode("utf-8", errors="replace")),
        ),
    ]


def _text(atoms: Any, kind: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "seed")
        write(path, atoms, format=kind)
        return path.read_bytes()


_SYMMETRIC = (
    "data_salt\n_symmetry_space_group_name_H-M 'F m -3 m'\n_symmetry_Int_Tables_number 225"
    f"{cubic(5.64)}{SITES} Na1 Na 0 0 0 1\n Cl1 Cl 0.5 0.5 0.5 1\n"
).encode()

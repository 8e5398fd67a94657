"""Hostile files and formulas: mutated from good ones, read under a watchdog, refused or read.

``python -m tests.fuzzing --inputs 100000`` reads that many, each target in a process of its own
with bounded memory, and prints a table. Input k of a target is the same on every machine.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from ase.spacegroup import crystal

DOCUMENTED = (ValueError, TypeError, FileNotFoundError)
SECONDS = 5.0  # of processor time, for one input
_SILENCE = 120.0  # seconds without a finished input before the process is given up
_MEMORY = 1 << 30  # beyond what the process has once everything is imported

# Of the inputs in percent: by what one costs.
_SHARES = {"cif": 6, "extxyz": 26, "card": 16, "safetensors": 10, "priors": 10, "formula": 32}

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


class Hang(BaseException):
    """An input took too long."""


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


def attack(target: Target, number: int, folder: Path) -> str:
    """Read input `number` of a target: "read", "refused", or what went wrong."""
    data = mutate(target.seeds, np.random.default_rng([number, len(target.name)]))
    where = folder / "work"
    where.mkdir(exist_ok=True)
    try:
        with watched(where), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            target.read(data, where)
    except DOCUMENTED:
        return "refused"
    except (Exception, Hang) as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__}: {str(error)[:80]} at {place.filename}:{place.lineno}"
    return "read"


_allowed: list[str] = []
_forbidden = ("os.system", "subprocess.Popen", "socket.connect", "pickle.find_class", "os.exec")


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _allowed:
        return
    if event in _forbidden:
        raise PermissionError(f"{event} {arguments!r}"[:200])
    changes = event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.link")
    if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        flags = arguments[2] or 0
        changes = bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))
    if changes:
        path = os.path.realpath(os.fsdecode(arguments[0]))
        if not path.startswith(_allowed[0]) and path != os.devnull:
            raise PermissionError(f"{event} outside of the folder: {path}")


sys.addaudithook(_audit)


@contextlib.contextmanager
def watched(folder: Path) -> Iterator[None]:
    """Forbid files outside of a folder, programs, connections and unpickling; limit the time."""

    def expire(*_: object) -> None:
        raise Hang(f"more than {SECONDS:g} s")

    before = signal.signal(signal.SIGPROF, expire)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    _allowed.append(os.path.realpath(folder) + os.sep)
    try:
        yield
    finally:
        _allowed.clear()
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _text(atoms: Any, kind: str) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "seed")
        write(path, atoms, format=kind)
        return path.read_bytes()


_SYMMETRIC = b"""data_salt
_symmetry_space_group_name_H-M 'F m -3 m'
_symmetry_Int_Tables_number 225
_cell_length_a 5.64
_cell_length_b 5.64
_cell_length_c 5.64
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
loop_
 _atom_site_label
 _atom_site_type_symbol
 _atom_site_fract_x
 _atom_site_fract_y
 _atom_site_fract_z
 _atom_site_occupancy
 Na1 Na 0 0 0 1
 Cl1 Cl 0.5 0.5 0.5 1
"""


def _work(name: str, first: int, last: int) -> None:
    """Attack in this process, one line of JSON an input that went wrong, and marks of progress."""
    with tempfile.TemporaryDirectory() as folder:
        [target] = [t for t in targets(Path(folder)) if t.name == name]
        for data in target.seeds:  # imports what is needed
            with tempfile.TemporaryDirectory(dir=folder) as where:
                target.read(data, Path(where))
        size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + _MEMORY, size + _MEMORY))
        start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        slowest = 0.0
        print("{}", flush=True)  # ready
        for number in range(first, last):
            began = time.process_time()
            result = attack(target, number, Path(folder))
            slowest = max(slowest, time.process_time() - began)
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start
            row = {"number": number, "result": result, "slowest": slowest, "grown": grown / 1024}
            print(json.dumps(row), flush=True)


def _run(name: str, n_inputs: int) -> dict[str, Any]:
    """Attack a target in processes that may die, and count."""
    counts = {"read": 0, "refused": 0}
    faults: dict[str, int] = {}
    first, slowest, grown = 0, 0.0, 0.0
    while first < n_inputs:
        command = [sys.executable, "-m", "tests.fuzzing", "--target", name]
        with subprocess.Popen(
            [*command, "--first", str(first), "--last", str(n_inputs)], stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            signal.signal(signal.SIGALRM, lambda *_, child=process: child.kill())
            signal.setitimer(signal.ITIMER_REAL, 4 * _SILENCE)
            started = False
            for line in process.stdout:
                started = True
                signal.setitimer(signal.ITIMER_REAL, _SILENCE)
                row = json.loads(line)
                if not row:
                    continue
                first = row["number"] + 1
                slowest, grown = max(slowest, row["slowest"]), max(grown, row["grown"])
                if row["result"] in counts:
                    counts[row["result"]] += 1
                else:
                    print(f"{name} {row['number']}: {row['result']}", flush=True)
                    kind = row["result"].split(":")[0]
                    faults[kind] = faults.get(kind, 0) + 1
            signal.setitimer(signal.ITIMER_REAL, 0)
        if process.returncode != 0 and not started:
            raise RuntimeError(f"{name}: the process ended with {process.returncode} at once")
        if process.returncode != 0:
            print(f"{name} {first}: the process ended with {process.returncode}", flush=True)
            faults["crash"] = faults.get("crash", 0) + 1
            first += 1
    return {
        **counts,
        "faults": faults,
        "slowest / s": round(slowest, 2),
        "grown / MiB": round(grown),
    }


def main() -> None:
    """Attack every target, or do the work of one process."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--target")
    parser.add_argument("--first", type=int)
    parser.add_argument("--last", type=int)
    options = parser.parse_args()
    if options.last is not None:
        _work(options.target, options.first, options.last)
        return
    with tempfile.TemporaryDirectory() as folder:
        names = [target.name for target in targets(Path(folder))]
    names = [name for name in names if options.target in (None, name)]
    total = sum(_SHARES[name] for name in names)
    for name in names:
        print(name, _run(name, options.inputs * _SHARES[name] // total), flush=True)


if __name__ == "__main__":
    main()

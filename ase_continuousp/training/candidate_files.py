"""The candidates that a judge learns from, made once and kept in files."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ase_continuousp.crystals import Crystals
from ase_continuousp.model.checkpoint import TrainedModel
from ase_continuousp.search.sources import PRIORS, PROTOTYPES, read_priors
from ase_continuousp.starts.prototype import PrototypeStart
from ase_continuousp.training.candidates import Candidates, candidates_of
from ase_continuousp.training.generated import generated_for

_AT_ONCE = 100  # compositions of one file of generated crystals: some minutes of one core


class CandidateFiles:
    """Candidates for training crystals in a random order; what is there is not made again.

    Crystals of the composition itself are left out of the library meanwhile.

    Parameters
    ----------
    trained : TrainedModel
        With a prototype library.
    crystals : Crystals
    folder : Path
        Where the files are kept. They are named by what they are made from: other data or
        another library are other candidates.
    seed : int
        Of the order.

    Raises
    ------
    ValueError
        If the model has no prototype library.
    """

    def __init__(
        self, trained: TrainedModel, crystals: Crystals, folder: Path, *, seed: int
    ) -> None:
        library = trained.path / PROTOTYPES
        if not library.is_file():
            raise ValueError(f"model must have a prototype library: {trained.path} has none")
        self._trained = trained
        self._crystals = crystals
        self._folder = folder
        self._seed = seed
        self._digest = hashlib.sha256(repr(seed).encode())
        for array in (crystals.positions, crystals.cells, crystals.numbers, crystals.offsets):
            self._digest.update(np.ascontiguousarray(array).tobytes())
        for file in (library, trained.path / PRIORS):
            self._digest.update(file.read_bytes())
        self._start = PrototypeStart(library, read_priors(trained.path), noise=0.0)

    def prototypes(self, n: int, n_candidates: int, *, progress: bool = False) -> Candidates:
        """Return the likeliest prototypes of n compositions."""
        path = self._file("candidates", n, n_candidates)
        if path.is_file():
            return Candidates.load(path)
        some = self._crystals.select(self._rows(n))
        made = candidates_of(some, self._start, n=n_candidates, unseen=True, progress=progress)
        made.save(path)
        return made

    def with_generated(
        self, n: int, n_candidates: int, n_chains: int, *, progress: bool = False
    ) -> Candidates:
        """Return prototypes of n compositions together with what the model generates for them."""
        rows = self._rows(n)
        parts = np.array_split(rows, -(-len(rows) // _AT_ONCE))
        found = []
        for number, part in enumerate(tqdm(parts, disable=not progress, desc="generating")):
            path = self._file("generated", number, n, n_candidates, n_chains, self._trained.hash)
            if not path.is_file():
                some = self._crystals.select(part)
                generated = generated_for(
                    self._trained, some, n_chains=n_chains, seed=self._seed + number
                )
                candidates_of(
                    some, self._start, n=n_candidates, unseen=True, generated=generated
                ).save(path)
            found.append(Candidates.load(path))
        return Candidates.concatenate(found)

    def _rows(self, n: int) -> NDArray[np.int64]:
        return np.random.default_rng(self._seed).permutation(len(self._crystals))[:n]

    def _file(self, kind: str, *about: object) -> Path:
        digest = self._digest.copy()
        digest.update(repr(about).encode())
        return self._folder / f"{kind}-{digest.hexdigest()[:16]}.npz"

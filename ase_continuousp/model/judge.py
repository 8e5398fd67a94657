"""A second network of a model: how much more plausible a crystal is than its likes are."""

from __future__ import annotations

import json
import os

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ase_continuousp.crystals import Crystals
from ase_continuousp.model.continuous import ContinuousEnergy, crystal_means
from ase_continuousp.model.packing import packed, unpacked
from ase_continuousp.model.pairs import Graph
from ase_continuousp.model.stored import read_tensors, refusing, write_tensors
from ase_continuousp.neighborlist import search

Floats = NDArray[np.float64]

JUDGE = "judge.safetensors"
_FORMAT = "ase_continuousp-judge-2"


class Judge:
    """Log-odds J = −U_J/N of a crystal among other candidates of its composition.

    U_J is a network of the same form as the energy, so J is invariant and continuous as well. It
    was trained to tell the right one of the prototypes of a composition from the wrong ones
    (:mod:`ase_continuousp.training.judging`); the energy, trained on the neighborhood of known
    crystals, says little about which of two minima is right.

    Parameters
    ----------
    network : ContinuousEnergy
    device : str

    Examples
    --------
    >>> judge = Judge(ContinuousEnergy(channels=8, vector_channels=4, n_layers=2))
    >>> judge(Crystals.single([[0, 0, 0]], [[3, 0, 0], [0, 3, 0], [0, 0, 3]], [84])).shape
    (1,)
    """

    def __init__(self, network: ContinuousEnergy, *, device: str | torch.device = "cpu") -> None:
        self.device = torch.device(device)
        self.network = network.to(self.device, torch.float32).eval().requires_grad_(False)

    def __call__(self, crystals: Crystals) -> Floats:
        """Return the log-odds of each crystal, (n_crystals,)."""
        with torch.no_grad():
            made: Floats = (
                log_odds(self.network, crystals, self.device).cpu().numpy().astype(np.float64)
            )
        return made

    def save(self, path: str | os.PathLike[str], *, trained_on: str = "") -> None:
        """Write weights, matrices as 8-bit integers times a scale per row, by a rename.

        Odds change by some hundredths, much less than those of one judge and another differ.
        """
        tensors: dict[str, Tensor] = {}
        for name, value in self.network.named_parameters():
            tensors |= packed(name, value.detach().cpu())
        about = {
            "format": _FORMAT,
            "hyperparameters": json.dumps(self.network.hyperparameters),
            "trained_on": trained_on,
        }
        write_tensors(path, tensors, about)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, device: str | torch.device = "cpu") -> Judge:
        """Read a file written by :meth:`save`.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If the file holds no judge, or a damaged one.
        """
        with refusing("judge", path):
            stored, about = read_tensors("judge", path, _FORMAT)
            with torch.random.fork_rng(devices=[]):
                network = ContinuousEnergy(**json.loads(about["hyperparameters"]))
            network.load_state_dict(unpacked(stored))
        return cls(network, device=device)


def log_odds(network: ContinuousEnergy, crystals: Crystals, device: torch.device) -> Tensor:
    """Return −U_J/N of each crystal, differentiable in the parameters of the network."""
    neighbors = search(crystals, network.cutoff_ratio * crystals.lengths)
    graph = Graph.of(crystals, neighbors, torch.float32, device)
    energies = network.atomic_energies(
        graph,
        torch.from_numpy(crystals.positions).to(device),
        torch.from_numpy(crystals.cells).to(device),
    )
    return -crystal_means(graph, energies[:, None])[:, 0]

"""Model folders: weights as safetensors beside a JSON card that says what they are."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from ase.data import chemical_symbols
from safetensors import SafetensorError
from safetensors.torch import load_file

from ase_continuousp import pretrained
from ase_continuousp.io.replacing import replacing
from ase_continuousp.model.conditional import ConditionalEnergy
from ase_continuousp.model.continuous import MAX_NUMBER, ContinuousEnergy
from ase_continuousp.model.derivatives import ModelEnergy
from ase_continuousp.model.fitting_sizes import require_fit
from ase_continuousp.model.paper import PaperEnergy
from ase_continuousp.model.stored import write_tensors

WEIGHTS = "model.safetensors"
CARD = "card.json"
FORMAT = "ase_continuousp-model-1"
_NETWORKS: dict[str, type[torch.nn.Module]] = {
    network.kind: network for network in (ContinuousEnergy, ConditionalEnergy, PaperEnergy)
}
_DTYPES = {"float32": torch.float32, "float64": torch.float64}


@dataclass(frozen=True)
class TrainedModel:
    """A model folder in memory.

    Parameters
    ----------
    name : str
        Name of a shipped model, else of the folder.
    path : Path
        Folder with weights, card, priors and, if the model has one, a prototype library.
    card : dict
        What the model is, what it was trained on and what was measured.
    network : torch.nn.Module
        In float32 on the CPU.
    hash : str
        First 16 digits of the SHA-256 of the weights.
    """

    name: str
    path: Path
    card: dict[str, Any]
    network: torch.nn.Module
    hash: str

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers that occur in the training set."""
        return tuple(self.card["elements"])

    def require_own_folder(self) -> None:
        """Raise ValueError for a model of the package: users train in folders of their own."""
        if self.path.resolve().parent == Path(pretrained.__file__).resolve().parent:
            raise ValueError(
                f"model {self.name!r} is one of the package, which is not written to: copy the "
                f"folder {self.path} and give the copy"
            )

    def require_elements(self, numbers: Iterable[int]) -> None:
        """Raise ValueError, with the elements of the training set, if others are among these."""
        unknown = sorted({int(z) for z in numbers} - set(self.elements))
        if unknown:
            supported = " ".join(chemical_symbols[z] for z in self.elements)
            raise ValueError(
                f"atoms: model {self.name!r} was not trained on "
                f"{chemical_symbols[unknown[0]]}; it supports: {supported}"
            )

    def energy(
        self, *, device: str = "auto", dtype: str = "float32", length: float | None = None
    ) -> ModelEnergy:
        """Return the energy function of the model.

        Parameters
        ----------
        device, dtype : str
        length : float, optional [Å]
            Stands for ℓ = (V/N)^(1/3) of all crystals.

        Raises
        ------
        ValueError
            If the device or the dtype is unknown or not available, or the length not positive.
        """
        if length is not None and not (isinstance(length, Real) and 0.0 < length < float("inf")):
            raise ValueError(f"length must be a positive number [Å] or None: {length!r}")
        copy = _build(self.card)
        copy.load_state_dict(self.network.state_dict())
        return ModelEnergy(copy, dtype=_dtype(dtype), device=torch_device(device), length=length)


def load_model(name_or_path: str | os.PathLike[str]) -> TrainedModel:
    """Load a shipped model by its name, or any model by its folder.

    Reads local files only and unpickles nothing.

    Parameters
    ----------
    name_or_path : str or path
        One of :func:`ase_continuousp.list_models`, or a folder written by training.

    Returns
    -------
    TrainedModel

    Raises
    ------
    ValueError
        If there is no such model (the message lists those that ship), or the folder does not
        hold a model of this package, or its files are damaged.

    Examples
    --------
    >>> model = load_model("perov5")
    >>> model.card["training"]["data"][0]
    'perov_5/train'
    """
    text = os.fspath(name_or_path)
    shipped = text in pretrained.list_models()
    path = pretrained.model_path(text) if shipped else Path(text)
    if not path.exists():
        raise ValueError(
            f"model: no shipped model and no folder named {text!r}; "
            f"shipped models: {', '.join(pretrained.list_models())}"
        )
    card = read_card(path)
    weights = path / WEIGHTS
    try:
        require_fit(card["hyperparameters"], weights)
        network = _build(card)
        network.load_state_dict(load_file(weights))
    except (
        OSError,
        SafetensorError,
        RuntimeError,
        TypeError,
        ValueError,
        ArithmeticError,
    ) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"model: {weights} does not hold the weights of its card: {reason}"
        ) from None
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()[:16]
    return TrainedModel(text if shipped else path.name, path, card, network, digest)


def file_hashes(folder: str | os.PathLike[str]) -> dict[str, str]:
    """Return the first 16 digits of the SHA-256 of every file of a model folder, by name.

    Weights, card, priors, prototypes, judge: all of them make the results. What trainings left in
    subfolders does not.

    Parameters
    ----------
    folder : str or path

    Raises
    ------
    FileNotFoundError
        If there is no such folder.

    Examples
    --------
    >>> sorted(file_hashes(load_model("carbon24").path))
    ['card.json', 'model.safetensors', 'priors.json', 'prototypes.npz']
    """
    return {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()[:16]
        for file in sorted(Path(folder).iterdir())
        if file.is_file()
    }


def save_model(
    path: Path, network: Any, tensors: dict[str, torch.Tensor], card: dict[str, Any]
) -> None:
    """Write weights and card of a network into a folder, each by a rename.

    Parameters
    ----------
    path : Path
        Made if it does not exist.
    network : torch.nn.Module
        With ``kind`` and ``hyperparameters``.
    tensors : dict of str to Tensor
        The state to write; that of the network, or an average of it.
    card : dict
        JSON-ready; format, kind and hyperparameters are added.
    """
    path.mkdir(parents=True, exist_ok=True)
    full = {"format": FORMAT, "kind": network.kind, "hyperparameters": network.hyperparameters}
    weights = {k: v.detach().float().contiguous() for k, v in tensors.items()}
    write_tensors(path / WEIGHTS, weights)
    write_card(path, full | card)


def write_card(path: Path, card: dict[str, Any]) -> None:
    """Write the card of a model folder by a rename."""
    with replacing(path / CARD) as draft:
        draft.write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")


def read_card(path: Path) -> dict[str, Any]:
    """Return the card of a model folder.

    Raises
    ------
    ValueError
        If there is none, or one that is no card of this package.
    """
    file = path / CARD
    try:
        card: Any = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(
            f"model: {path} is no model folder (it must hold {CARD} and {WEIGHTS}): {error}"
        ) from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"model: {file} is broken, no JSON: {error}") from None
    if not isinstance(card, dict) or card.get("format") != FORMAT:
        raise ValueError(f"model: {file} is not a card of format {FORMAT!r}")
    missing = {"kind", "hyperparameters", "elements"} - set(card)
    if missing:
        raise ValueError(f"model: {file} lacks the entry {sorted(missing)[0]!r}")
    if not isinstance(card["kind"], str) or card["kind"] not in _NETWORKS:
        raise ValueError(
            f"model: {file}: kind must be one of {sorted(_NETWORKS)}: {card['kind']!r}"
        )
    elements = card["elements"]
    if not (
        isinstance(elements, list)
        and elements
        and all(type(z) is int and 1 <= z <= MAX_NUMBER for z in elements)
    ):
        raise ValueError(f"model: {file}: elements must be atomic numbers from 1 to {MAX_NUMBER}")
    return card


def _build(card: dict[str, Any]) -> torch.nn.Module:
    # Layers are born with random weights, drawn from torch's global stream: leave it as it was.
    with torch.random.fork_rng(devices=[]):
        return _NETWORKS[card["kind"]](**card["hyperparameters"])


def _dtype(name: str) -> torch.dtype:
    if name not in _DTYPES:
        raise ValueError(f"dtype must be one of {sorted(_DTYPES)}: {name!r}")
    return _DTYPES[name]


def torch_device(name: str) -> torch.device:
    """Return the device of that name, "auto" being CUDA if there is one.

    Raises
    ------
    ValueError
        If there is no such device here.

    Examples
    --------
    >>> torch_device("cpu")
    device(type='cpu')
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(
            f"device must be 'auto' or a torch device such as 'cpu': {name!r}"
        ) from None
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device must be a CPU or CUDA device: {name!r}")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count() or "no"
        raise ValueError(f"device {name!r} is not available: torch finds {found} CUDA device(s)")
    return device

"""Larger networks that begin where a smaller one ended."""

from __future__ import annotations

import torch
from torch import Tensor

from ase_continuousp.model.continuous import ContinuousEnergy

_SMALL = 0.1  # of what is new, against what is usual
_VARIED = 0.3  # copies against their originals

Parameters = dict[str, Tensor]


def grown(
    small: ContinuousEnergy,
    *,
    channels: int,
    vector_channels: int,
    n_layers: int,
    seed: int = 0,
) -> ContinuousEnergy:
    """Return a network with more channels or layers whose energy is nearly that of a smaller one.

    As in Net2Net (Chen, Goodfellow, Shlens 2016, arXiv:1511.05641): new messages are varied copies
    of old ones that nobody reads yet, new channels of the atoms begin nearly empty, and new layers
    add nearly nothing. What was learned is kept, and training goes on from there.

    Parameters
    ----------
    small : ContinuousEnergy
    channels, vector_channels, n_layers : int
        Of the new network.
    seed : int

    Returns
    -------
    ContinuousEnergy
        With the cutoff and the filters of the small one.

    Raises
    ------
    ValueError
        If a size is smaller than before.

    Examples
    --------
    >>> small = ContinuousEnergy(channels=8, vector_channels=4, n_layers=2)
    >>> grown(small, channels=16, vector_channels=4, n_layers=3).hyperparameters["n_layers"]
    3
    """
    sizes = {"channels": channels, "vector_channels": vector_channels, "n_layers": n_layers}
    for name, size in sizes.items():
        if size < small.hyperparameters[name]:
            raise ValueError(
                f"{name} must be at least the {small.hyperparameters[name]} there are: {size}"
            )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        large = ContinuousEnergy(**(small.hyperparameters | sizes))
        large.to(small.embedding.weight.dtype)
        growth = _Growth(
            small.hyperparameters["channels"],
            channels,
            small.hyperparameters["vector_channels"],
            vector_channels,
        )
        old = {name: value.detach() for name, value in small.named_parameters()}
        with torch.no_grad():
            for name, parameter in growth.parameters(old, large).items():
                large.get_parameter(name).copy_(parameter)
    return large


class _Growth:
    """Which channel of the small network each one of the large network copies."""

    def __init__(self, n_old: int, n_new: int, v_old: int, v_new: int) -> None:
        self.n_old, self.n_new, self.v_old, self.v_new = n_old, n_new, v_old, v_new
        self.scalars = torch.cat([torch.arange(n_old), torch.randint(n_old, (n_new - n_old,))])
        self.vectors = torch.cat([torch.arange(v_old), torch.randint(v_old, (v_new - v_old,))])

    def parameters(self, old: Parameters, large: ContinuousEnergy) -> Parameters:
        """Return the parameters of the large network."""
        fresh = {name: value.detach() for name, value in large.named_parameters()}
        n, n_old = self.n_new, self.n_old
        embedding = _SMALL * _VARIED * fresh["embedding.weight"]
        embedding[:, :n_old] = old["embedding.weight"]
        first = _varied(_read(old["readout.0.weight"][self.scalars], n), n_old)
        made = {
            "embedding.weight": embedding,
            "length.weight": _padded(old["length.weight"], (n, 12)),
            "norm.weight": self._gain(old["norm.weight"]),
            "readout.0.weight": first,
            "readout.0.bias": old["readout.0.bias"][self.scalars],
            "readout.2.weight": _padded(old["readout.2.weight"], (1, n)),
            "readout.2.bias": old["readout.2.bias"],
        }
        n_layers = 1 + max(int(name.split(".")[1]) for name in old if name.startswith("layers."))
        for k in range(large.hyperparameters["n_layers"]):
            prefix = f"layers.{k}."
            own = {name[len(prefix) :]: v for name, v in fresh.items() if name.startswith(prefix)}
            before = {name[len(prefix) :]: v for name, v in old.items() if name.startswith(prefix)}
            if k < n_layers:
                own = self._layer(before, own)
            else:
                own["update.weight"] = 0.2 * _SMALL * own["update.weight"]
                own["update.bias"] = torch.zeros_like(own["update.bias"])
            made |= {prefix + name: value for name, value in own.items()}
        return made

    def _layer(self, old: Parameters, fresh: Parameters) -> Parameters:
        n, v, n_old, v_old = self.n_new, self.v_new, self.n_old, self.v_old
        made: Parameters = {"norm.weight": self._gain(old["norm.weight"])}
        # Rows of what atoms send: scalars, vectors and the gates of both.
        sizes = [n_old, v_old, n_old, v_old]
        copies = [self.scalars, self.vectors, self.scalars, self.vectors]
        rows, biases = old["send.weight"].split(sizes), old["send.bias"].split(sizes)
        parts = [
            _varied(_read(row[copy], n), size)
            for row, copy, size in zip(rows, copies, sizes, strict=True)
        ]
        for part in parts:
            part[:, n_old:] = 0.0  # nobody reads the new channels yet
        made["send.weight"] = torch.cat(parts)
        made["send.bias"] = torch.cat([b[c] for b, c in zip(biases, copies, strict=True)])
        filters = old["filters"]
        columns = [filters[:, :n_old][:, self.scalars]]
        for begin in range(n_old, filters.shape[1], v_old):
            columns.append(filters[:, begin : begin + v_old][:, self.vectors])
        made["filters"] = torch.cat(columns, dim=1)
        if "carry.weight" in old:
            made["carry.weight"] = _read(old["carry.weight"][self.vectors], v)
        p, q = (half[self.vectors] for half in old["angles.weight"].chunk(2))
        made["angles.weight"] = torch.cat([_read(p, v), _read(q, v)])
        mix = old["mix.weight"][self.scalars]
        blocks = mix.split([n_old, v_old, n_old], dim=1)
        wide = [_padded(b, (n, size)) for b, size in zip(blocks, (n, v, n), strict=True)]
        made["mix.weight"] = _varied(torch.cat(wide, dim=1), n_old)
        made["mix.bias"] = old["mix.bias"][self.scalars]
        made["mix_mean.weight"] = _read(old["mix_mean.weight"][self.scalars], n)
        update = _padded(old["update.weight"], (n, n))
        spread = _SMALL * old["update.weight"].std()
        update[n_old:] = spread * torch.randn_like(update[n_old:])
        made["update.weight"] = update
        made["update.bias"] = _padded(old["update.bias"][None], (1, n))[0]
        if "gate.weight" in old:
            made["gate.weight"] = _read(old["gate.weight"][self.vectors], n)
            made["gate.bias"] = old["gate.bias"][self.vectors]
            made["turn.weight"] = _read(old["turn.weight"][self.vectors], v)
        elif "gate.weight" in fresh:  # the last layer once, which had no vectors to give
            made |= {name: fresh[name] for name in ("gate.weight", "gate.bias")}
            made["turn.weight"] = _VARIED * fresh["turn.weight"]
        return made

    def _gain(self, old: Tensor) -> Tensor:
        """Return the gain of a norm over more channels, of which the new ones are empty."""
        gain = old.mean().repeat(self.n_new)
        gain[: self.n_old] = old * (self.n_old / self.n_new) ** 0.5
        return gain


def _read(rows: Tensor, width: int) -> Tensor:
    """Return rows that read the old channels as before and the new ones not yet."""
    return _padded(rows, (len(rows), width))


def _varied(rows: Tensor, n_old: int) -> Tensor:
    """Return rows whose copies, those after the first n_old, differ from the originals."""
    varied = rows.clone()
    if len(rows) > n_old:
        varied[n_old:] += _VARIED * rows[:n_old].std() * torch.randn_like(rows[n_old:])
    return varied


def _padded(old: Tensor, shape: tuple[int, int]) -> Tensor:
    made = old.new_zeros(shape)
    made[: old.shape[0], : old.shape[1]] = old
    return made

"""Crystals that differ by which element is which."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, permutations, product

import numpy as np

from ase_continuousp.crystals import Crystals

_MOST = 120


def exchanges(crystals: Crystals) -> Iterator[Crystals]:
    """Yield a crystal, then those with elements exchanged of which it has as many atoms.

    Parameters
    ----------
    crystals : Crystals
        A batch of one.

    Yields
    ------
    Crystals
        Of the same composition; at most 120.

    Examples
    --------
    >>> salt = Crystals.single([[0, 0, 0], [2.8, 2.8, 2.8]], 5.6 * np.eye(3), [11, 17])
    >>> [one.numbers.tolist() for one in exchanges(salt)]
    [[11, 17], [17, 11]]
    """
    alike: dict[int, list[int]] = defaultdict(list)
    for element, count in zip(*np.unique(crystals.numbers, return_counts=True), strict=True):
        alike[int(count)].append(int(element))
    groups = list(alike.values())
    for orders in islice(product(*(permutations(group) for group in groups)), _MOST):
        becomes = {
            old: new
            for group, order in zip(groups, orders, strict=True)
            for old, new in zip(group, order, strict=True)
        }
        yield replace(crystals, numbers=np.array([becomes[z] for z in crystals.numbers.tolist()]))

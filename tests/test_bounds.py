"""Bounds on cells hold for starts and candidates, and mean the reduced cell."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from hypothesis import given, settings
from pymatgen.core import Lattice

from ase_continuousp import predict
from ase_continuousp.io import from_atoms
from ase_continuousp.search.bounds import Bounds, chosen_within, drawn_within
from ase_continuousp.search.predict import is_volume_outlier
from ase_continuousp.starts import StartCrystal
from ase_continuousp.starts.priors import Priors
from ase_continuousp.starts.random import RandomStart
from tests.strategies import atoms as any_atoms
from tests.systems import perovskite
from tests.tiny_model import save_tiny_model


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = {"n_steps": 2, "quench_steps": 2}
    return save_tiny_model(tmp_path_factory.mktemp("models") / "tiny", anneal=options)


@settings(max_examples=20)
@given(any_atoms(min_atoms=1, max_atoms=3))
def test_they_are_those_of_the_reduced_cell(atoms: Atoms) -> None:
    lattice = Lattice(atoms.cell.array).get_niggli_reduced_lattice()
    crystal = from_atoms(atoms)
    low, high = min(lattice.abc), max(lattice.abc)
    assert Bounds(lengths=(low - 1e-3, high + 1e-3)).hold(crystal)
    assert not Bounds(lengths=(low + 1e-3, high + 1.0)).hold(crystal)
    assert not Bounds(lengths=(0.1, high - 1e-3)).hold(crystal) or high - low < 1e-3
    per_atom = lattice.volume / len(atoms)
    assert Bounds(volume_per_atom=(per_atom * 0.99, per_atom * 1.01)).hold(crystal)
    assert not Bounds(volume_per_atom=(per_atom * 1.01, per_atom * 1.1)).hold(crystal)
    narrow, wide = min(lattice.angles), max(lattice.angles)
    # Where two reduced cells are equally good, angles a and 180 - a are too.
    if narrow > 60.5 and wide < 119.5:
        reach = max(90 - narrow, wide - 90) + 0.1
        assert Bounds(angles=(90 - reach, 90 + reach)).hold(crystal)


@pytest.mark.parametrize(
    "wrong", [(3, 2), (0, 1), (-1, 1), (1, float("inf")), (1,), ("a", "b"), 3, (1, float("nan"))]
)
@pytest.mark.parametrize("name", ["lengths", "angles", "volume_per_atom"])
def test_wrong_bounds_are_refused(name: str, wrong: object) -> None:
    with pytest.raises(ValueError, match=f"{name} must be"):
        Bounds(**{name: wrong})  # type: ignore[arg-type]


def test_random_starts_are_drawn_until_they_fit(model: Path) -> None:
    start = RandomStart(Priors.load(model / "priors.json"))
    bounds = Bounds(lengths=(3.5, 4.5), angles=(80, 100), volume_per_atom=(9.0, 9.5))
    rng = np.random.default_rng(0)
    numbers = [38, 22, 8, 8, 8]
    made = drawn_within(bounds, lambda n: start.generate(numbers, n, rng), 5)
    assert len(made) == 5
    assert all(bounds.hold(one.crystals) for one in made)
    assert len({float(one.crystals.positions[0, 0]) for one in made}) == 5
    impossible = Bounds(lengths=(50.0, 60.0), volume_per_atom=(1.0, 2.0))
    assert drawn_within(impossible, lambda n: start.generate(numbers, n, rng), 5) == []


def test_prototypes_are_chosen_and_change_their_volume_only() -> None:
    lengths = (3.6, 3.9, 4.2, 3.95)
    offered = [StartCrystal(from_atoms(perovskite(length=a)), "prototype", 0.0) for a in lengths]
    bounds = Bounds(lengths=(3.8, 4.0))
    assert chosen_within(bounds, lambda n: offered[:n], 1) == [offered[1]]
    assert chosen_within(bounds, lambda n: offered[:n], 9) == [offered[1], offered[3]]
    assert chosen_within(None, lambda n: offered[:n], 2) == offered[:2]
    denser = Bounds(volume_per_atom=(8.0, 9.0))
    for one, built in zip(chosen_within(denser, lambda n: offered[:n], 9), offered, strict=True):
        expected = np.clip(built.crystals.volumes[0] / 5, 8.0, 9.0)
        assert one.crystals.volumes[0] / 5 == pytest.approx(expected)
        np.testing.assert_allclose(one.crystals.fractional, built.crystals.fractional, atol=1e-12)


@pytest.mark.parametrize("start", ["random", "symmetric"])
def test_candidates_lie_within(model: Path, start: str) -> None:
    pytest.importorskip("pyxtal")
    expected = np.exp(Priors.load(model / "priors.json").log_volume_per_atom([11, 17]))
    low, high = 1.3 * expected, 1.6 * expected
    bounds = Bounds(volume_per_atom=(low, high), lengths=(2.0, 9.0))
    options = {"model": model, "n_samples": 6, "start": start, "formula_units": 1, "seed": 1}
    found = predict("NaCl", bounds=bounds, **options)
    assert found
    for one in found:
        assert bounds.hold(from_atoms(one.atoms))
        assert low - 1e-6 <= one.atoms.get_volume() / 2 <= high + 1e-6
    free = predict("NaCl", **options)
    assert not all(low <= one.atoms.get_volume() / 2 <= high for one in free)


def test_bounds_that_nothing_fits_are_an_error(model: Path) -> None:
    with pytest.raises(ValueError, match="offers nothing for 'NaCl' within the bounds"):
        predict(
            "NaCl",
            model=model,
            start="random",
            bounds=Bounds(lengths=(90, 95), angles=(89, 91), volume_per_atom=(10, 11)),
        )


def test_volumes_far_from_the_expected_one_are_outliers(model: Path) -> None:
    priors = Priors.load(model / "priors.json")
    numbers = perovskite().numbers
    expected = np.exp(priors.log_volume_per_atom(numbers))
    spread = priors.log_volume_spread(numbers)
    for errors, is_outlier in (
        (0.0, False),
        (3.9, False),
        (-3.9, False),
        (4.1, True),
        (-4.1, True),
    ):
        atoms = perovskite(length=float(np.cbrt(5 * expected * np.exp(errors * spread))))
        assert is_volume_outlier(from_atoms(atoms), priors) == is_outlier


def test_bounds_that_are_none_are_refused_by_name(model: Path) -> None:
    with pytest.raises(TypeError, match=r"bounds must be Bounds or None: \(1, 2\)"):
        predict("NaCl", model=model, n_samples=1, bounds=(1, 2))  # type: ignore[arg-type]

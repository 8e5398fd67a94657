"""Volume and shape priors, against crystals of known law and pymatgen's Niggli reduction."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from pymatgen.core import Lattice

from ase_continuousp.crystals import Crystals
from ase_continuousp.starts.density import DensityModel
from ase_continuousp.starts.priors import Priors
from ase_continuousp.starts.shapes import ShapeModel, cells_of, log_metrics


def alloys(n: int = 600, seed: int = 0) -> tuple[Crystals, np.ndarray]:
    """Return crystals of which the volume is the sum of fixed volumes of five elements."""
    rng = np.random.default_rng(seed)
    elements = np.array([3, 8, 13, 26, 79])
    volumes = np.array([20.0, 8.0, 16.0, 11.0, 17.0])
    made = []
    for _ in range(n):
        kinds = rng.integers(5, size=rng.integers(1, 7))
        length = np.cbrt(volumes[kinds].sum() * np.exp(rng.normal(scale=0.02)))
        cell = length * np.eye(3)
        made.append(
            Crystals.single(rng.uniform(size=(len(kinds), 3)) @ cell, cell, elements[kinds])
        )
    return Crystals.concatenate(made), volumes


@pytest.fixture(scope="module")
def priors() -> Priors:
    return Priors.fit(alloys()[0], n_steps=300)


def test_volume_of_unseen_compositions_follows_the_additive_law(priors: Priors) -> None:
    _, volumes = alloys()
    numbers = [3] * 3 + [8] * 4 + [79] * 2
    expected = np.log((3 * volumes[0] + 4 * volumes[1] + 2 * volumes[4]) / 9)
    assert priors.log_volume_per_atom(numbers) == pytest.approx(expected, abs=0.04)


def test_volume_ignores_order_and_formula_units(priors: Priors) -> None:
    one = priors.log_volume_per_atom([3, 8, 8])
    assert priors.log_volume_per_atom([8, 3, 8]) == pytest.approx(one, abs=1e-6)
    assert priors.log_volume_per_atom([8, 3, 8] * 3) == pytest.approx(one, abs=1e-6)


def test_spread_tells_the_size_of_the_errors(priors: Priors) -> None:
    # The mean absolute value of a normal law of width 0.02.
    assert 0.008 < priors.log_volume_spread([3, 8]) < 0.035


def test_sampled_volumes_scatter_around_the_expected_one(priors: Priors) -> None:
    rng = np.random.default_rng(1)
    cells = priors.sample_cells([3, 8], 400, rng)
    logs = np.log(np.linalg.det(cells) / 2)
    assert logs.mean() == pytest.approx(priors.log_volume_per_atom([3, 8]), abs=0.01)
    assert logs.std() > 0.005
    exact = priors.sample_cells([3, 8], 5, rng, volume_noise=0.0)
    assert np.ptp(np.linalg.det(exact)) < 1e-9


def test_cubic_training_cells_give_cubic_cells(priors: Priors) -> None:
    for numbers in ([3, 8], [26] * 5, [79] * 17):
        cells = priors.sample_cells(numbers, 10, np.random.default_rng(0))
        lengths = np.linalg.norm(cells, axis=-1)
        assert np.allclose(lengths, lengths[:, :1], rtol=1e-6)
        metric = cells @ cells.transpose(0, 2, 1)
        assert np.allclose(metric[:, [0, 0, 1], [1, 2, 2]], 0.0, atol=1e-5)


def test_element_outside_the_training_set_gets_an_average_volume(priors: Priors) -> None:
    assert 8.0 < np.exp(priors.log_volume_per_atom([92])) < 20.0


def test_same_seed_gives_the_same_fit_and_cells() -> None:
    crystals, _ = alloys(60)
    one, two = (Priors.fit(crystals, n_steps=20, seed=3) for _ in range(2))
    draws = [p.sample_cells([3, 8], 4, np.random.default_rng(5)) for p in (one, two)]
    assert np.array_equal(*draws)


def test_fit_leaves_global_random_state_alone() -> None:
    torch = pytest.importorskip("torch")
    before = torch.random.get_rng_state()
    DensityModel.fit(alloys(20)[0], n_steps=3)
    assert torch.equal(before, torch.random.get_rng_state())


def test_weight_zero_removes_crystals() -> None:
    crystals, _ = alloys(80)
    swollen = Crystals(
        crystals.positions * 2, crystals.cells * 2, crystals.numbers, crystals.offsets
    )
    both = Crystals.concatenate([crystals, swollen])
    weights = np.repeat([1.0, 0.0], 80)
    model = DensityModel.fit(both, weights=weights, n_steps=120)
    mean, _ = model.predict([crystals.numbers[a:b] for a, b in _spans(crystals)])
    expected = np.log(crystals.volumes / crystals.counts)
    assert np.abs(mean - expected).mean() < 0.05


def _spans(crystals: Crystals) -> zip[tuple[int, int]]:
    return zip(crystals.offsets[:-1].tolist(), crystals.offsets[1:].tolist(), strict=True)


def test_save_and_load_agree(priors: Priors, tmp_path: Path) -> None:
    path = tmp_path / "priors.json"
    priors.save(path)
    loaded = Priors.load(path)
    assert loaded.log_volume_per_atom([3, 8]) == priors.log_volume_per_atom([3, 8])
    draws = [p.sample_cells([3, 8], 4, np.random.default_rng(5)) for p in (priors, loaded)]
    assert np.allclose(*draws, atol=1e-6)
    assert [p.name for p in tmp_path.iterdir()] == ["priors.json"]
    assert path.stat().st_size < 100_000


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": "other"}', "\x00"])
def test_foreign_files_are_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "priors.json"
    path.write_text(content)
    with pytest.raises(ValueError, match="not a file of priors"):
        Priors.load(path)


def test_damaged_weights_are_refused(priors: Priors, tmp_path: Path) -> None:
    path = tmp_path / "priors.json"
    priors.save(path)
    content = json.loads(path.read_text())
    del content["density"]["last"]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="must have the shapes"):
        Priors.load(path)


@pytest.mark.parametrize("numbers", [[], [0], [119], [[3, 8]], [1.5], ["Na"]])
def test_bad_numbers_are_refused(priors: Priors, numbers: list[object]) -> None:
    with pytest.raises(ValueError, match="numbers must be"):
        priors.log_volume_per_atom(numbers)


def test_bad_weights_are_refused() -> None:
    with pytest.raises(ValueError, match="weights must be"):
        DensityModel.fit(alloys(5)[0], weights=np.zeros(5))


def test_log_metric_knows_no_basis_and_no_orientation() -> None:
    rng = np.random.default_rng(0)
    cell = np.array([[4.0, 0, 0], [1.0, 5.0, 0], [-1.5, 0.7, 6.0]])
    other = np.array([[1, 3, 0], [0, 1, -2], [0, 0, 1]]) @ cell
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    shapes = log_metrics([cell, other, cell @ rotation, 7 * cell])
    assert np.allclose(shapes, shapes[0], atol=1e-8)


def test_log_metric_inverts_to_the_niggli_cell_of_pymatgen() -> None:
    rng = np.random.default_rng(2)
    for _ in range(10):
        cell = np.eye(3) + 0.4 * rng.normal(size=(3, 3))
        again = cells_of(log_metrics([cell]))[0]
        reduced = Lattice(cell).get_niggli_reduced_lattice()
        scale = abs(np.linalg.det(cell)) ** (1 / 3)
        assert np.allclose(np.linalg.norm(again, axis=1) * scale, reduced.abc, rtol=1e-5)
        assert np.allclose(Lattice(again).angles, reduced.angles, atol=1e-3)


def test_shapes_keep_their_shares_and_follow_stoichiometry() -> None:
    salt = bulk("NaCl", "rocksalt", a=5.64)
    cesium = bulk("CsCl", "cesiumchloride", a=4.12)
    iron = bulk("Fe", "bcc", a=2.87) * (2, 1, 1)

    def of(atoms: object) -> Crystals:
        return Crystals.single(atoms.positions, atoms.cell.array, atoms.numbers)

    data = Crystals.concatenate([of(salt)] * 30 + [of(cesium)] * 10 + [of(iron)] * 40)
    model = ShapeModel.fit(data)
    assert sorted(model.counts.tolist()) == [10, 30, 40]
    shapes = log_metrics(model.sample([11, 17], 2000, np.random.default_rng(0)))
    near = {
        name: np.mean(np.linalg.norm(shapes - log_metrics([a.cell.array]), axis=1) < 0.01)
        for name, a in {"salt": salt, "cesium": cesium, "iron": iron}.items()
    }
    # 40 crystals of the pattern 1-1 and 10 pseudo-counts of any crystal of two atoms.
    assert near["salt"] == pytest.approx((30 + 10 * 30 / 80) / 50, abs=0.04)
    assert near["iron"] == pytest.approx(10 * 40 / 80 / 50, abs=0.03)


def test_no_single_training_cell_is_kept() -> None:
    rng = np.random.default_rng(0)
    cells = np.eye(3) + 0.3 * rng.normal(size=(50, 3, 3))
    data = Crystals.concatenate([Crystals.single([[0, 0, 0]], c, [3]) for c in cells])
    model = ShapeModel.fit(data)
    assert model.counts.min() >= 3
    gaps = np.linalg.norm(model.centers[:, None] - log_metrics(cells)[None], axis=-1)
    assert gaps.min() > 1e-3

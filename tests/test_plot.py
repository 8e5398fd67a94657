"""Figures show what they should and disturb no state of matplotlib."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.io import read

from ase_continuousp import AnnealedLangevin, Candidate, plot
from ase_continuousp.sampling.history import RunHistory
from tests.systems import perovskite, system

pytest.importorskip("matplotlib")


def candidate(energy: float = -1.0, trace: tuple[float, ...] = (0.0, -0.5, -1.0)) -> Candidate:
    return Candidate(perovskite(), energy, ("Pm-3m", 221), 1, 1, True, False, trace=np.array(trace))


@pytest.mark.parametrize(
    ("atoms", "n_shown"),
    [
        (bulk("Po", "sc", a=3.3), 8),
        (bulk("Cu", cubic=True), 14),
        (perovskite(), 15),
        (system("diamond"), 9),
    ],
)
def test_images_on_the_boundary_are_drawn(atoms, n_shown: int) -> None:
    atoms.positions += 1e-5
    before = atoms.copy()
    shown = plot.whole_cell(atoms)
    assert len(shown) == n_shown
    np.testing.assert_array_equal(atoms.positions, before.positions)
    np.testing.assert_allclose(shown.cell.array, atoms.cell.array)
    fractional = shown.get_scaled_positions(wrap=False)
    assert fractional.min() > -2e-3
    assert fractional.max() < 1 + 2e-3


@pytest.mark.parametrize("name", ["skewed", "left_handed", "coincident", "flat"])
def test_crystals_are_drawn(name: str, tmp_path) -> None:
    figure = plot.plot_crystal(system(name), title="a title")
    assert figure.axes[0].get_title() == "a title"
    assert figure.axes[0].patches
    figure.savefig(tmp_path / "crystal.png")
    assert (tmp_path / "crystal.png").read_bytes().startswith(b"\x89PNG")


def test_anneals_are_drawn_and_what_was_built_is_a_level() -> None:
    built = candidate(-1.2, (-1.2,))
    found = [built, candidate(-0.9, (0.0, -0.9)), *[candidate() for _ in range(9)]]
    [axes] = plot.plot_anneal(found).axes
    lines = {line.get_label(): line for line in axes.lines}
    assert len(lines) == 7  # the first, and the first six that were annealed
    first, second = list(lines.values())[:2]
    np.testing.assert_array_equal(first.get_ydata(), [built.energy_per_atom] * 2)
    assert "as built" in first.get_label()
    np.testing.assert_array_equal(second.get_ydata(), found[1].trace)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step", "energy per atom")
    assert len(axes.get_legend().get_texts()) == 7


def test_a_run_is_drawn_from_its_trajectory(tmp_path) -> None:
    atoms = bulk("Cu", cubic=True)
    atoms.rattle(0.1, seed=0)
    atoms.calc = EMT()
    path = tmp_path / "run.traj"
    anneal = AnnealedLangevin(
        atoms,
        n_steps=8,
        temperature=(0.1, 0.01),
        step_size=(0.004, 0.004),
        target_acceptance=None,
        seed=0,
        logfile=None,
        trajectory=path,
    )
    accepted, energies, volumes = [], [], []
    anneal.attach(lambda: accepted.append(anneal.acceptance_rate * anneal.nsteps))
    anneal.attach(lambda: energies.append(anneal.optimizable.get_value() / 4))
    anneal.attach(lambda: volumes.append(atoms.get_volume() / 4))
    anneal.run()
    axes = plot.plot_run(path).axes
    assert [a.get_ylabel() for a in axes] == [
        "energy per atom",
        "acceptance",
        "volume per atom / Å³",
    ]
    assert axes[-1].get_xlabel() == "step"
    energy, acceptance, volume = (a.lines[0].get_ydata() for a in axes)
    np.testing.assert_array_equal(axes[0].lines[0].get_xdata(), np.arange(9))
    np.testing.assert_allclose(energy, energies, atol=1e-12)
    np.testing.assert_allclose(volume, volumes, rtol=1e-12)
    np.testing.assert_allclose(acceptance[1:], np.diff(np.rint(accepted)), atol=1e-12)
    assert 0 < sum(acceptance[1:]) < 8
    frames = read(path, ":")
    assert frames[3].info["annealed_langevin"]["step"] == 3
    history = RunHistory.from_trajectory(frames[::4])
    np.testing.assert_allclose(
        history.acceptance()[1:, 0], np.diff(np.rint(accepted)[::4]) / 4, atol=1e-12
    )


def test_a_cluster_has_no_volume_and_foreign_frames_no_run(tmp_path) -> None:
    cluster = Atoms("Cu3", positions=[[0, 0, 0], [2.4, 0, 0], [0, 2.5, 0]], calculator=EMT())
    path = tmp_path / "run.traj"
    AnnealedLangevin(
        cluster, n_steps=3, move_cell=False, seed=0, logfile=None, trajectory=path
    ).run()
    assert len(plot.plot_run(path).axes) == 2
    with pytest.raises(ValueError, match=r"written by AnnealedLangevin: frame 0 has no"):
        plot.plot_run([bulk("Cu")])
    with pytest.raises(ValueError, match="at least one"):
        plot.plot_run([])


def test_a_batch_is_drawn_with_a_line_for_each_crystal() -> None:
    energy = np.arange(6.0).reshape(3, 2)
    run = RunHistory(np.arange(3), energy, np.array([[0, 0], [1, 0], [2, 1]]), 10.0 + energy)
    assert [len(axes.lines) for axes in plot.plot_run(run).axes] == [2, 2, 2]


def test_no_candidate_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        plot.plot_anneal([])


def test_missing_matplotlib_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plot, "find_spec", lambda _: None)
    with pytest.raises(ImportError, match=r"ase-continuousp\[report\]"):
        plot.plot_crystal(bulk("Cu"))


def test_pyplot_is_not_touched() -> None:
    import matplotlib

    settings = dict(matplotlib.rcParams)
    plot.plot_crystal(bulk("Cu"))
    assert dict(matplotlib.rcParams) == settings
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()

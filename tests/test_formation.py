"""Formation energies: a fit that leaves the score alone, and what it is worth."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from ase.build import bulk

from ase_continuousp import ContinuouSPCalculator, load_model
from ase_continuousp.model.formation import FormationEnergy
from ase_continuousp.training.formation import (
    Known,
    calibrate,
    fit_formation,
    mean_absolute_error,
    pairwise_accuracy,
)
from tests.tiny_model import save_tiny_model


def made_up(n=400, noise=0.0, seed=0):
    """Return crystals of four elements whose formation energy is known in closed form."""
    rng = np.random.default_rng(seed)
    fractions = np.zeros((n, 104))
    fractions[:, [8, 11, 12, 17]] = rng.dirichlet(np.ones(4), size=n)
    energies = rng.normal(size=n)
    truth = 0.3 * energies - 2.0 * fractions[:, 8] - 5.0 * fractions[:, 8] * fractions[:, 12]
    return Known(energies, fractions, truth + noise * rng.normal(size=n), np.full(n, np.nan))


def test_the_fit_finds_factor_offsets_and_couplings():
    fitted, _ = fit_formation(made_up())
    assert fitted.energy_unit == pytest.approx(0.3, rel=1e-2)
    assert mean_absolute_error(fitted, made_up(seed=1)) < 0.02
    alone, _ = fit_formation(made_up(), with_energy=False)
    assert mean_absolute_error(alone, made_up(seed=1)) > 0.2


def test_an_energy_that_points_the_wrong_way_is_refused():
    known = made_up()
    with pytest.raises(ValueError, match="do not mean lower formation energies"):
        fit_formation(Known(-known.energies, known.fractions, known.formation, known.above_hull))


def test_polymorphs_are_compared_within_a_composition_only():
    fractions = np.eye(104)[[8, 8, 8, 12, 12, 17]]
    above = np.array([0.0, 0.05, np.nan, 0.2, 0.2004, 0.0])
    energies = np.array([2.0, 1.0, 0.0, 5.0, 6.0, -9.0])
    known = Known(energies, fractions, above, above)
    # One pair of oxygen, in the wrong order; those of magnesium are too alike.
    assert pairwise_accuracy(known) == {"pairs": 1, "compositions": 1, "pairwise_accuracy": 0.0}


@pytest.fixture
def calibrated(tmp_path, monkeypatch):
    """Return a tiny model, and data whose formation energies follow from its own energies."""
    monkeypatch.setenv("ASE_CONTINUOUSP_CACHE", str(tmp_path / "cache"))
    folder = save_tiny_model(tmp_path / "tiny", priors=False)
    energy = ContinuouSPCalculator(folder)
    rows = []
    rng = np.random.default_rng(0)
    for k in range(30):
        name, structure = [("NaCl", "rocksalt"), ("MgO", "rocksalt"), ("Cu", "fcc")][k % 3]
        atoms = bulk(name, structure, a=rng.uniform(3.6, 5.6))
        atoms.calc = energy
        atoms.write(tmp_path / "one.cif")
        value = 0.5 * atoms.get_potential_energy() / len(atoms) + {"NaCl": -2.0, "MgO": -3.0}.get(
            name, 0.0
        )
        text = (tmp_path / "one.cif").read_text()
        rows.append({"cif": text, "formation_energy_per_atom": value, "e_above_hull": k / 100})
    rows.append({"cif": text, "formation_energy_per_atom": "", "e_above_hull": ""})
    with (tmp_path / "data.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    made = calibrate(folder, tmp_path / "data.csv", test=tmp_path / "data.csv")
    return folder, made


def test_calibrated_energies_are_formation_energies_and_forces_keep_their_direction(calibrated):
    folder, made = calibrated
    assert made["crystals"] == 30
    assert made["energy_unit"] == pytest.approx(0.5, rel=0.02)
    assert made["test"]["mae"] < 0.02
    assert json.loads((folder / "card.json").read_text())["calibration"] == made
    atoms = bulk("MgO", "rocksalt", a=4.2).repeat((2, 1, 1))
    atoms.rattle(0.05, seed=0)
    plain, fitted = ContinuouSPCalculator(folder), ContinuouSPCalculator(folder, calibrated=True)
    unit = FormationEnergy.load(folder).energy_unit
    expected = 0.5 * plain.get_potential_energy(atoms) / len(atoms) - 3.0
    assert fitted.get_potential_energy(atoms) / len(atoms) == pytest.approx(expected, abs=0.05)
    assert fitted.get_potential_energies(atoms).sum() == pytest.approx(
        fitted.get_potential_energy(atoms)
    )
    np.testing.assert_allclose(fitted.get_forces(atoms), unit * plain.get_forces(atoms))
    np.testing.assert_allclose(fitted.get_stress(atoms), unit * plain.get_stress(atoms))


def test_what_was_not_calibrated_says_how(tmp_path):
    folder = save_tiny_model(tmp_path / "tiny", priors=False)
    with pytest.raises(ValueError, match="ase-continuousp calibrate"):
        ContinuouSPCalculator(folder, calibrated=True)
    (folder / "formation.safetensors").write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="is damaged"):
        ContinuouSPCalculator(folder, calibrated=True)


def test_data_without_formation_energies_is_refused(tmp_path):
    folder = save_tiny_model(tmp_path / "tiny", priors=False)
    (tmp_path / "data.csv").write_text("cif\nx\n")
    with pytest.raises(ValueError, match="must have a column 'formation_energy_per_atom'"):
        calibrate(folder, tmp_path / "data.csv")
    assert load_model(folder).card.get("calibration") is None

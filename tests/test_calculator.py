"""The calculator as ASE and its users see it; the numbers follow the checklist of the design."""

from __future__ import annotations

import copy
import json
import multiprocessing
import pickle
import random
import runpy
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.calculator import (
    BaseCalculator,
    CalculatorSetupError,
    PropertyNotImplementedError,
    get_calculator_class,
)
from ase.calculators.emt import EMT
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress
from ase.calculators.mixing import LinearCombinationCalculator, SumCalculator
from ase.constraints import FixAtoms, FixSymmetry
from ase.db import connect
from ase.filters import FrechetCellFilter
from ase.io import Trajectory, read
from ase.optimize import LBFGS
from ase.spacegroup.symmetrize import check_symmetry

from ase_continuousp import ContinuouSPCalculator, list_models
from ase_continuousp.model.checkpoint import save_model
from ase_continuousp.model.continuous import ContinuousEnergy
from ase_continuousp.model.derivatives import ModelEnergy
from ase_continuousp.testing import (
    assert_continuous,
    assert_forces,
    assert_invariant,
    assert_stress,
)
from tests.strategies import random_atoms
from tests.systems import OTHER, PERIODIC, perovskite, rattled, system
from tests.tiny_model import ELEMENTS, save_tiny_model

KNOWN = {name: a for name, a in PERIODIC.items() if set(a.numbers) <= set(ELEMENTS)}
needs_mp20 = pytest.mark.skipif("mp20" not in list_models(), reason="mp20 does not ship yet")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("model"), priors=False)


@pytest.fixture(scope="module")
def exact(folder: Path) -> ContinuouSPCalculator:
    return ContinuouSPCalculator(folder, dtype="float64")


@pytest.fixture
def calc(folder: Path) -> ContinuouSPCalculator:
    return ContinuouSPCalculator(folder, device="cpu")


@pytest.fixture
def atoms(calc: ContinuouSPCalculator) -> Atoms:
    made = rattled(perovskite())
    made.calc = calc
    return made


@pytest.fixture
def n_evaluations(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count evaluations of the network; the last entry is their number."""
    count = [0]
    evaluate = ModelEnergy.__call__

    def counted(self: ModelEnergy, crystals: object) -> object:
        count[0] += 1
        return evaluate(self, crystals)

    monkeypatch.setattr(ModelEnergy, "__call__", counted)
    return count


# 1, 2: properties and types


def test_properties_are_a_list_of_its_own(calc: ContinuouSPCalculator) -> None:
    promised = ["energy", "free_energy", "energies", "forces", "stress"]
    assert ContinuouSPCalculator.implemented_properties == promised
    assert ContinuouSPCalculator.implemented_properties is not BaseCalculator.implemented_properties
    assert calc.implemented_properties is ContinuouSPCalculator.implemented_properties
    assert "energies" not in BaseCalculator.implemented_properties


@pytest.mark.parametrize("name", ["magmoms", "stresses", "dipole"])
def test_other_properties_are_refused(atoms: Atoms, name: str) -> None:
    with pytest.raises(PropertyNotImplementedError):
        atoms.calc.get_property(name, atoms)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_results_have_the_types_of_ase(folder: Path, dtype: str) -> None:
    atoms = rattled(perovskite())
    atoms.calc = ContinuouSPCalculator(folder, dtype=dtype)
    assert type(atoms.get_potential_energy()) is float
    assert type(atoms.get_potential_energy(force_consistent=True)) is float
    for name, shape in (("energies", (5,)), ("forces", (5, 3)), ("stress", (6,))):
        value = atoms.calc.results[name]
        assert value.shape == shape
        assert value.dtype == np.float64
    assert atoms.get_potential_energies().sum() == pytest.approx(atoms.get_potential_energy())
    assert atoms.get_potential_energy(force_consistent=True) == atoms.get_potential_energy()


def test_precisions_agree(atoms: Atoms, exact: ContinuouSPCalculator) -> None:
    np.testing.assert_allclose(atoms.get_forces(), exact.get_forces(atoms), atol=2e-6)
    assert atoms.get_potential_energy() == pytest.approx(exact.get_potential_energy(atoms), 1e-5)
    assert atoms.get_potential_energy() != exact.get_potential_energy(atoms)


def test_energy_unit_of_the_card_scales_all(tmp_path: Path, atoms: Atoms) -> None:
    scaled = ContinuouSPCalculator(save_tiny_model(tmp_path, priors=False, energy_unit=2.5))
    ours = atoms.calc
    ours.calculate(atoms)
    scaled.calculate(atoms)
    for name in ContinuouSPCalculator.implemented_properties:
        np.testing.assert_allclose(scaled.results[name], 2.5 * np.array(ours.results[name]))


# 3, 4: one pass, cached


def test_one_evaluation_serves_all_properties(atoms: Atoms, n_evaluations: list[int]) -> None:
    atoms.get_stress()
    atoms.get_forces()
    atoms.get_potential_energies()
    atoms.get_potential_energy(force_consistent=True)
    atoms.set_initial_magnetic_moments([1.0] * 5)
    atoms.get_potential_energy()
    assert n_evaluations == [1]
    atoms.positions[0, 0] += 1e-3
    atoms.get_forces()
    assert n_evaluations == [2]
    atoms.set_cell(atoms.cell * 1.01)
    atoms.get_stress()
    assert n_evaluations == [3]


def test_calculate_takes_the_names_of_ase(calc: ContinuouSPCalculator) -> None:
    copper = bulk("Cu")
    calc.calculate(atoms=copper, properties=["forces"], system_changes=["positions"])
    assert set(calc.results) == set(calc.implemented_properties)
    calc.calculate(copper, ["energy"], ["cell"])
    with pytest.raises(ValueError, match="atoms must be given"):
        ContinuouSPCalculator(calc.parameters["model"]).calculate()


def test_results_are_no_views_of_shared_memory(atoms: Atoms) -> None:
    forces = atoms.get_forces()
    kept = forces.copy()
    forces += 1.0
    np.testing.assert_array_equal(atoms.get_forces(), kept)


def test_failure_leaves_no_results_of_other_atoms(calc: ContinuouSPCalculator) -> None:
    calc.calculate(bulk("Cu"))
    foreign = bulk("W")
    for _ in range(2):
        with pytest.raises(ValueError, match="not trained on W"):
            calc.calculate(foreign)
        assert calc.results == {}
        with pytest.raises(ValueError, match="not trained on W"):
            calc.get_property("energy", foreign)


# 5: parameters


def test_parameters_are_small_json_with_the_hash_of_the_weights(
    calc: ContinuouSPCalculator, folder: Path, tmp_path: Path
) -> None:
    described = json.loads(json.dumps(calc.todict()))
    digest = described.pop("model_hash")
    assert described == {
        "model": str(folder),
        "device": "cpu",
        "dtype": "float32",
        "length": None,
        "calibrated": False,
    }
    assert described == dict(calc.parameters)
    assert len(json.dumps(described)) < 1000
    other = save_tiny_model(tmp_path / folder.name, priors=False, seed=1)
    same = save_tiny_model(tmp_path / "renamed", priors=False)
    assert len(digest) == 16
    assert digest != ContinuouSPCalculator(other).todict()["model_hash"]
    assert digest == ContinuouSPCalculator(same).todict()["model_hash"]


def test_set_changes_the_model_and_forgets_results(atoms: Atoms, folder: Path) -> None:
    calc = atoms.calc
    single = atoms.get_potential_energy()
    assert calc.set(dtype="float32") == {}
    assert calc.results
    assert calc.set(dtype="float64") == {"dtype": "float64"}
    assert calc.results == {}
    assert atoms.get_potential_energy() != single
    calc.set(model=folder)  # a Path, which JSON would refuse
    json.dumps(calc.todict())


@pytest.mark.parametrize(
    ("wrong", "kind", "message"),
    [
        ({"precision": "high"}, CalculatorSetupError, "no parameter 'precision'.*dtype"),
        ({"dtype": "float16"}, ValueError, "dtype must be one of.*float32.*float64"),
        ({"model": 3}, TypeError, "model must be a name or a path: got int"),
    ],
)
def test_set_refuses_and_changes_nothing(
    atoms: Atoms, wrong: dict[str, object], kind: type[Exception], message: str
) -> None:
    before = atoms.calc.todict()
    energy = atoms.get_potential_energy()
    with pytest.raises(kind, match=message):
        atoms.calc.set(**wrong)
    assert atoms.calc.todict() == before
    assert atoms.get_potential_energy() == energy


def test_database_and_trajectory_keep_results(atoms: Atoms, tmp_path: Path) -> None:
    energy, forces = atoms.get_potential_energy(), atoms.get_forces()
    stress, described = atoms.get_stress(), atoms.calc.todict()
    with connect(tmp_path / "one.db") as database:
        database.write(atoms)
    row = connect(tmp_path / "one.db").get(1)
    assert row.calculator == "continuousp"
    assert row.calculator_parameters == described
    with Trajectory(tmp_path / "one.traj", "w") as trajectory:
        trajectory.write(atoms)
    atoms.write(tmp_path / "one.extxyz")
    images = [row.toatoms(), read(tmp_path / "one.traj"), read(tmp_path / "one.extxyz")]
    for image in images:
        assert image.get_potential_energy() == pytest.approx(energy, abs=1e-9)
        np.testing.assert_allclose(image.get_forces(), forces, atol=1e-8)
        np.testing.assert_allclose(image.get_stress(), stress, atol=1e-8)
    assert images[1].calc.name == "continuousp"


# 6, 7: no global state, silence


def global_state() -> list[object]:
    return [
        torch.get_default_dtype(),
        torch.get_num_threads(),
        torch.is_grad_enabled(),
        torch.get_rng_state().tolist(),
        str(np.random.get_state()),  # noqa: NPY002
        random.getstate(),
        np.geterr(),
        list(warnings.filters),
    ]


@pytest.fixture
def three_threads() -> Iterator[None]:
    """Let torch have as many threads as no library would choose; tests run with one."""
    usual = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(usual)


@pytest.mark.usefixtures("three_threads")
def test_nothing_global_changes_and_nothing_is_printed(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = global_state()
    atoms = rattled(perovskite())
    for dtype in ("float32", "float64"):
        atoms.calc = ContinuouSPCalculator(folder, dtype=dtype)
        atoms.get_stress()
    with torch.no_grad():
        atoms.rattle(0.1)
        assert np.any(atoms.get_forces() != 0.0)
    assert global_state() == before
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"device": "abacus"}, "device must be 'auto' or a torch device.*abacus"),
        ({"device": "meta"}, "device must be a CPU or CUDA device"),
        ({"dtype": "double"}, r"dtype must be one of \['float32', 'float64'\]: 'double'"),
    ],
)
def test_unknown_device_or_dtype_is_refused(
    folder: Path, wrong: dict[str, str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ContinuouSPCalculator(folder, **wrong)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_missing_device_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="'cuda' is not available"):
        ContinuouSPCalculator(folder, device="cuda")


@pytest.mark.cuda
def test_devices_agree(folder: Path, atoms: Atoms) -> None:
    on_gpu = ContinuouSPCalculator(folder, device="cuda", dtype="float64")
    on_cpu = ContinuouSPCalculator(folder, device="cpu", dtype="float64")
    np.testing.assert_allclose(on_gpu.get_forces(atoms), on_cpu.get_forces(atoms), atol=1e-12)


# 8, 9: models


def test_unknown_model_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"no shipped model and no folder named 'mp21'.*shipped"):
        ContinuouSPCalculator("mp21")


def test_loading_needs_no_network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []

    def refuse(*arguments: object, **_: object) -> None:
        opened.append(arguments)
        raise OSError("there is no network")

    monkeypatch.setattr("socket.socket", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    for model in (folder, *({"mp20"} & set(list_models()))):
        ContinuouSPCalculator(model, device="cpu").get_potential_energy(bulk("Cu"))
    assert not opened  # nor tried, and the failure hidden


class Bomb:
    """Unpickling it leaves a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("writer", ["pickle", "torch"])
@pytest.mark.parametrize("place", ["file", "weights", "card"])
def test_foreign_file_is_never_unpickled(
    folder: Path, tmp_path: Path, writer: str, place: str
) -> None:
    trace = tmp_path / "unpickled"
    model = tmp_path / "model"
    model.mkdir()
    for name in ("card.json", "model.safetensors"):
        (model / name).write_bytes((folder / name).read_bytes())
    names = {"file": "model.pt", "weights": "model.safetensors", "card": "card.json"}
    target = model / names[place]
    if writer == "pickle":
        target.write_bytes(pickle.dumps(Bomb(trace)))
    else:
        torch.save(Bomb(trace), target)
    with pytest.raises(ValueError, match=r"^model: "):
        ContinuouSPCalculator(target if place == "file" else model)
    assert not trace.exists()


def test_damaged_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "card.json").write_bytes((folder / "card.json").read_bytes())
    content = (folder / "model.safetensors").read_bytes()
    for damaged in (content[:-100], b"", b"\xff" * 64):
        (tmp_path / "model.safetensors").write_bytes(damaged)
        with pytest.raises(ValueError, match="does not hold the weights of its card"):
            ContinuouSPCalculator(tmp_path)


def test_weights_of_another_network_are_refused(folder: Path, tmp_path: Path) -> None:
    network = ContinuousEnergy(channels=4, vector_channels=4, n_layers=1)
    save_model(tmp_path, network, network.state_dict(), {"elements": [29]})
    (tmp_path / "card.json").write_bytes((folder / "card.json").read_bytes())
    with pytest.raises(ValueError, match="does not hold the weights of its card"):
        ContinuouSPCalculator(tmp_path)


def test_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"is no model folder \(it must hold card.json"):
        ContinuouSPCalculator(tmp_path)


# 10 to 13: what is refused, and what is not


def test_unknown_element_lists_the_supported(calc: ContinuouSPCalculator) -> None:
    with pytest.raises(ValueError, match=r"'.*' was not trained on U; it supports: H Li C N O"):
        calc.get_potential_energy(system("heavy_and_light"))


@pytest.mark.parametrize("name", OTHER)
@pytest.mark.parametrize("quantity", ["energy", "stress"])
def test_open_directions_are_refused(calc: ContinuouSPCalculator, name: str, quantity: str) -> None:
    atoms = system(name)
    with pytest.raises(ValueError, match="3-D periodic cell"):
        calc.get_property(quantity, atoms)


def test_no_and_flat_cells_and_no_atoms_are_refused(calc: ContinuouSPCalculator) -> None:
    water = molecule("H2O")
    water.pbc = True
    for atoms, message in (
        (water, "volume > 0"),
        (Atoms("Cu", pbc=(True, True, False)), "3-D periodic cell"),
        (Atoms("Cu", cell=[[1, 0, 0], [0, 1, 0], [1, 1, 0]], pbc=True), "volume > 0"),
        (Atoms(cell=[3, 3, 3], pbc=True), "at least one atom"),
        (Atoms("Cu", [[np.nan, 0, 0]], cell=[3, 3, 3], pbc=True), "positions must be finite"),
        (Atoms("X", cell=[3, 3, 3], pbc=True), "elements"),
    ):
        with pytest.raises(ValueError, match=message):
            calc.get_stress(atoms)


def test_without_neighbors_the_energy_is_finite_and_forces_vanish(tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path, priors=False, network={"cutoff_ratio": 0.5})
    atoms = rattled(perovskite(), 0.01)
    atoms.calc = ContinuouSPCalculator(model, dtype="float64")
    assert np.isfinite(atoms.get_potential_energy())
    np.testing.assert_array_equal(atoms.get_forces(), 0.0)
    assert_stress(atoms)


@pytest.mark.filterwarnings("ignore:atoms. a layer of:UserWarning")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("length", [1e-3, 1.0, 1e4])
def test_extreme_densities_give_finite_numbers(folder: Path, dtype: str, length: float) -> None:
    atoms = rattled(perovskite())
    atoms.set_cell([length] * 3, scale_atoms=True)
    atoms.calc = ContinuouSPCalculator(folder, dtype=dtype)
    assert np.isfinite([atoms.get_potential_energy(), *atoms.get_stress()]).all()
    assert np.isfinite(atoms.get_forces()).all()


@pytest.mark.parametrize(
    "raised", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_too_many_atoms_are_told_what_to_do(
    atoms: Atoms, raised: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> object:
        raise raised

    monkeypatch.setattr(ModelEnergy, "__call__", fails)
    with pytest.raises(MemoryError, match=r"5 atoms do not fit .* take a smaller cell"):
        atoms.get_potential_energy()
    monkeypatch.setattr(ModelEnergy, "__call__", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        atoms.get_potential_energy()


# 14 to 16: invariance and derivatives


@pytest.mark.filterwarnings("ignore:atoms. a layer of:UserWarning")
@pytest.mark.parametrize("name", KNOWN)
def test_energy_depends_on_the_infinite_crystal_alone(
    exact: ContinuouSPCalculator, name: str
) -> None:
    atoms = system(name)
    atoms.calc = exact
    assert_invariant(atoms)
    assert np.isfinite(atoms.get_stress()).all()


@pytest.mark.parametrize("name", ["skewed", "left_handed", "obscure_basis", "wurtzite", "flat"])
def test_forces_and_stress_of_awkward_cells(exact: ContinuouSPCalculator, name: str) -> None:
    atoms = rattled(system(name), 0.1)
    atoms.calc = exact
    assert_forces(atoms)
    assert_stress(atoms)


def test_stress_is_positive_under_tension(exact: ContinuouSPCalculator) -> None:
    atoms = rattled(perovskite())
    atoms.calc = exact
    energy, volume = atoms.get_potential_energy(), atoms.get_volume()
    stress = atoms.get_stress()
    for k, (i, j) in enumerate(((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))):
        strain = np.zeros((3, 3))
        strain[i, j] += 0.5e-6
        strain[j, i] += 0.5e-6
        moved = atoms.copy()
        moved.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
        slope = (exact.get_potential_energy(moved) - energy) / 1e-6
        assert slope / volume == pytest.approx(stress[k], rel=1e-3, abs=1e-7)


def test_derivatives_of_fifty_random_crystals(exact: ContinuouSPCalculator) -> None:
    """Relative error at most 1e-6 against ASE's central differences, 1 to 12 atoms.

    Forces are compared on two atoms of each crystal, relative to its largest force.
    """
    rng = np.random.default_rng(0)
    worst = {"forces": 0.0, "stress": 0.0}
    for n in range(50):
        atoms = random_atoms(rng, 1 + n % 12, numbers=ELEMENTS)
        atoms.calc = exact
        forces, stress = atoms.get_forces(), atoms.get_stress()
        some = rng.permutation(len(atoms))[:2]
        found = calculate_numerical_forces(atoms, 1e-5, some, force_consistent=True)
        off = np.abs(found - forces[some]).max()
        if len(atoms) == 1:
            assert off < 1e-9  # its forces vanish by symmetry
        else:
            worst["forces"] = max(worst["forces"], off / np.abs(forces).max())
        off = np.abs(calculate_numerical_stress(atoms, 1e-5) - stress).max()
        worst["stress"] = max(worst["stress"], off / np.abs(stress).max())
    assert worst["forces"] <= 1e-6, worst
    assert worst["stress"] <= 1e-6, worst


def test_energy_has_no_jump_when_atoms_meet(exact: ContinuouSPCalculator) -> None:
    first = rattled(perovskite())
    first.calc = exact
    last = first.copy()
    # Straight through another atom, and through faces of the cell.
    last.positions[2] += 2.0 * (first.positions[3] - first.positions[2])
    last.positions[4] += [4.0, -3.0, 4.0]
    last.set_cell(first.cell.array * [1.1, 0.9, 1.2])
    assert_continuous(first, last, n_steps=(30, 300))


# 17: copies and processes


def energy_of(atoms: Atoms) -> float:
    return float(atoms.get_potential_energy())


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda calc: pickle.loads(pickle.dumps(calc))]
)
def test_copies_are_independent(atoms: Atoms, duplicate: object) -> None:
    energy = atoms.get_potential_energy()
    other = duplicate(atoms.calc)
    assert other.todict() == atoms.calc.todict()
    assert other.get_potential_energy(atoms) == energy
    other.calculate(bulk("Cu"))
    other.set(dtype="float64")
    assert atoms.calc.parameters["dtype"] == "float32"
    assert atoms.get_potential_energy() == energy


def test_works_in_a_spawned_process_without_its_folder(tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model", priors=False)
    atoms = rattled(perovskite())
    atoms.calc = ContinuouSPCalculator(model)
    energy = atoms.get_potential_energy()
    fresh = rattled(perovskite())
    fresh.calc = copy.deepcopy(atoms.calc)
    fresh.calc.reset()
    for file in model.iterdir():
        file.unlink()
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        assert pool.submit(energy_of, fresh).result() == pytest.approx(energy, rel=1e-6)


# 18: mixing, constraints, filters


def test_sums_keep_the_free_energy(calc: ContinuouSPCalculator) -> None:
    atoms = rattled(bulk("Cu", cubic=True), 0.1)
    parts = [calc, EMT()]
    sums = SumCalculator([ContinuouSPCalculator(calc.parameters["model"]), EMT()])
    mixed = LinearCombinationCalculator(
        [ContinuouSPCalculator(calc.parameters["model"]), EMT()], [2.0, 0.5]
    )
    for made, weights in ((sums, (1.0, 1.0)), (mixed, (2.0, 0.5))):
        for name in ("energy", "free_energy", "energies", "forces", "stress"):
            assert name in made.implemented_properties
            expected = sum(
                w * p.get_property(name, atoms) for w, p in zip(weights, parts, strict=True)
            )
            np.testing.assert_allclose(made.get_property(name, atoms), expected, atol=1e-9)
        assert made.get_property("free_energy") == pytest.approx(made.get_property("energy"))


@needs_mp20
def test_relaxation_of_cell_and_positions_lowers_the_energy() -> None:
    atoms = rattled(perovskite(), 0.1)
    atoms.set_cell(atoms.cell.array * [1.03, 0.98, 1.02], scale_atoms=True)
    atoms.calc = ContinuouSPCalculator("mp20")
    before = atoms.get_potential_energy()
    optimizer = LBFGS(FrechetCellFilter(atoms), logfile=None)
    assert optimizer.run(fmax=0.05, steps=300)
    assert atoms.get_potential_energy() < before
    assert np.abs(atoms.get_forces()).max() < 0.05


@needs_mp20
def test_fixed_symmetry_is_kept() -> None:
    atoms = perovskite()
    atoms.set_cell(atoms.cell.array * [1.0, 1.0, 1.06], scale_atoms=True)
    before = check_symmetry(atoms, 1e-3).number
    assert before == 123
    atoms.calc = ContinuouSPCalculator("mp20", dtype="float64")
    atoms.set_constraint(FixSymmetry(atoms))
    LBFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=0.02, steps=100)
    assert check_symmetry(atoms, 1e-3).number in (123, 221)


@needs_mp20
def test_fixed_atoms_stay() -> None:
    atoms = rattled(perovskite(), 0.1)
    before = atoms.positions.copy()
    atoms.calc = ContinuouSPCalculator("mp20")
    atoms.set_constraint(FixAtoms([0, 1]))
    LBFGS(atoms, logfile=None).run(fmax=0.05, steps=30)
    np.testing.assert_array_equal(atoms.positions[:2], before[:2])
    assert np.all(np.abs(atoms.positions[2:] - before[2:]).max(axis=1) > 0.0)


# 19, 39, 40


def test_documentation_says_what_the_energy_is() -> None:
    text = ContinuouSPCalculator.__doc__ or ""
    assert "negative log-density" in text
    assert "energy_unit" in text


def test_calculator_is_known_by_name() -> None:
    assert get_calculator_class("continuousp") is ContinuouSPCalculator
    assert ContinuouSPCalculator.name == "continuousp"


def test_running_the_module_again_is_no_second_registration() -> None:
    runpy.run_path(sys.modules[ContinuouSPCalculator.__module__].__file__)
    assert get_calculator_class("continuousp") is ContinuouSPCalculator

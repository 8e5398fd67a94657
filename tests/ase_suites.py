"""Which of ASE's own tests run on this package, and why the others of their modules do not.

`tests/test_ase_suites.py` makes sure that every test function of these modules either runs here
or has its reason; `docs/compatibility.py` turns this into the table of docs/ase.md.
"""

from __future__ import annotations

import importlib
from types import ModuleType

RUN_IN = (
    "tests.test_calculator_ase_suite",
    "tests.test_optimizer",
    "tests.test_optimizer_ase_suite",
    "tests.test_neighborlist_ase_suite",
)

_LJ = "tests the formulas of ASE with parameters of the Lennard-Jones potential"
_CLASSES = "tests the classes of ASE that keep a list while atoms move, which are not offered"
_BFGS = "tests what only optimizers with a Hessian have"

LEFT_OUT: dict[str, dict[str, str]] = {
    "ase.test.calculator.test_fd": {},
    "ase.test.calculator.test_traj": {},
    "ase.test.test_potential_energies": {},
    "ase.test.test_mixingcalc": {},
    "ase.test.filter.test_cellfilter": {},
    "ase.test.filter.test_strain_emt": {},
    "ase.test.filter.test_filter": {
        "test_filter": "asserts nothing, and relaxes a molecule without limit of steps",
        "test_apply_strain_to_mask": "uses no calculator",
    },
    "ase.test.filter.test_strain": {
        "test_strain_fcc": "216 atoms and no limit of steps; test_cellfilter does the same smaller",
        "test_strain_hcp": "216 atoms and no limit of steps; test_cellfilter does the same smaller",
    },
    "ase.test.test_phonons": {
        "test_get_band_structure_with_modes": "343 atoms; phonopy's test here goes further",
        "test_frequencies_amplitudes": _LJ,
        "test_partial_dos": _LJ,
    },
    "ase.test.test_stress": {
        "test_stress_voigt_shape": "asks for stresses of single atoms, which are not offered",
        "test_stress": _LJ,
    },
    "ase.test.test_eos": {"test_eos": "compares with the numbers of EMT"},
    "ase.test.optimize.test_optimizers": {},
    "ase.test.optimize.test_nsteps": {},
    "ase.test.optimize.test_restart": {
        "test_bad_restart": "wants ASE's wording, for no atoms, which are refused before; "
        "test_a_foreign_restart_file_is_refused is ours",
    },
    "ase.test.optimize.test_optimizer_restart": {"test_optimizers_restart": _BFGS},
    "ase.test.optimize.test_replay": {"test_replay": _BFGS},
    "ase.test.optimize.test_maxstep": {"test_mdmin_maxstep": "tests an option of MDMin"},
    "ase.test.optimize.test_optimize_stepwise": {
        "test_irun_start": "wants the first step to move; a Metropolis step may be refused",
        "test_attach_trajectory": "wants the second step to move; a Metropolis step may be refused",
    },
    "ase.test.neighbor.test_neighbor_kernel": {},
    "ase.test.neighbor.test_neighbor": dict.fromkeys(
        (
            *("test_unique", "test_supercell", "test_H2", "test_H2_shape_and_type", "test_fcc"),
            *("test_use_scaled_positions", "test_empty_neighbor_list"),
            *("test_equivalence_of_primitive_classes", "test_small_cell_and_large_cutoff"),
        ),
        _CLASSES,
    ),
    "ase.test.neighbor.test_neighbor_initialization": {
        "test_neighborlist_initialization": _CLASSES
    },
}


def test_functions(module: str) -> list[str]:
    """Return the names of the tests that an ASE module defines itself."""
    found = importlib.import_module(module)
    return [
        name
        for name, value in vars(found).items()
        if name.startswith("test_") and getattr(value, "__module__", None) == module
    ]


def taken(run_in: ModuleType) -> dict[str, tuple[str, str]]:
    """Return {name here: (ASE module, name there)} of the ASE tests that a module of ours runs."""
    return {
        name: (value.__module__, value.__name__)
        for name, value in vars(run_in).items()
        if name.startswith("test_") and getattr(value, "__module__", "").startswith("ase.test.")
    }


test_functions.__test__ = False  # type: ignore[attr-defined]  # pytest must not collect it

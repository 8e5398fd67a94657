"""What importing costs, what it touches, and which way imports point."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import ase_continuousp

ROOT = Path(ase_continuousp.__file__).parent
FILES = {
    ".".join(("ase_continuousp", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(
        ".__init__"
    ): path
    for path in sorted(ROOT.rglob("*.py"))
}
HEAVY_OR_OPTIONAL = {
    "chgnet",
    "dask",
    "distributed",
    "lightning",
    "matminer",
    "matplotlib",
    "numba",
    "pymatgen",
    "pyxtal",
    "smact",
    "torch",
    "torch_scatter",
    "torch_sim",
}


def imports(tree: ast.AST) -> Iterator[tuple[str, list[str]]]:
    """Yield the module and the names of every import below a node of the syntax tree."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, []
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", [alias.name for alias in node.names]


def run(code: str) -> str:
    """Return what a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("module", FILES)
def test_module_can_be_imported(module: str) -> None:
    importlib.import_module(module)


@pytest.mark.parametrize("name", ase_continuousp.__all__)
def test_public_name_exists_where_the_root_says(name: str) -> None:
    value = getattr(ase_continuousp, name)
    assert name in dir(ase_continuousp)
    assert name == "__version__" or value.__name__ == name


def test_public_names_are_exactly_those_promised() -> None:
    promised = """ContinuouSPCalculator AnnealedLangevin predict sample Candidate neighbor_list
    list_models load_model train TrainConfig evaluate __version__"""
    assert sorted(ase_continuousp.__all__) == sorted(promised.split())
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        ase_continuousp.nothing  # noqa: B018


def test_importing_the_root_is_light() -> None:
    code = "import ase_continuousp, sys; print(*{name.partition('.')[0] for name in sys.modules})"
    heavy = HEAVY_OR_OPTIONAL | {"ase", "numpy", "pandas", "scipy", "spglib", "typer"}
    assert not set(run(code).split()) & heavy


def modules_after(code: str) -> set[str]:
    """Return the names of all modules that a fresh interpreter has loaded after some code."""
    return set(run(f"{code}\nimport sys; print(); print(*sys.modules)").splitlines()[-1].split())


def test_a_calculator_loads_no_more_than_it_needs() -> None:
    code = """
from ase import Atoms
from ase_continuousp import ContinuouSPCalculator
iron = Atoms("Fe", cell=[2.3, 2.3, 2.3], pbc=True, calculator=ContinuouSPCalculator("mp20"))
iron.get_potential_energy()
"""
    unneeded = {"ase.db", "ase.io", "ase.lattice", "ase.optimize", "scipy.optimize", "sympy"}
    unneeded |= {"torch._dynamo", "torch._inductor", "numba.cuda", "typer", "spglib"}
    unneeded |= HEAVY_OR_OPTIONAL - {"numba", "torch"}
    assert not modules_after(code) & unneeded


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["relax", "--help"], ["models"], ["anneal"]]
)
def test_the_command_line_loads_nothing_heavy_before_there_is_work(arguments: list[str]) -> None:
    code = f"""
import contextlib, sys
sys.argv = ["ase-continuousp", *{arguments}]
from ase_continuousp.cli.main import main
with contextlib.suppress(SystemExit):
    main()
"""
    heavy = HEAVY_OR_OPTIONAL | {"ase", "numpy", "scipy", "spglib"}
    assert not modules_after(code) & heavy


def test_importing_everything_changes_no_global_state_and_asks_no_network() -> None:
    network = {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"}
    code = f"""
import sys
opened = []
sys.addaudithook(lambda event, _: opened.append(event) if event in {network} else None)
import random, torch, numpy as np, ase
torch.set_num_threads(3)  # tests run with one, which a module might set
def state():
    return (torch.get_default_dtype(), torch.get_num_threads(), torch.initial_seed(),
        torch.get_rng_state().sum().item(), hash(str(np.random.get_state())), random.getstate(),
        np.geterr(), hash(str(np.get_printoptions())))
before = state()
import importlib
for name in {list(FILES)}:
    importlib.import_module(name)
print(state() == before, opened)
"""
    assert run(code) == "True []"


@pytest.mark.parametrize("module", FILES)
def test_no_module_imports_the_root(module: str) -> None:
    for source, names in imports(ast.parse(FILES[module].read_text())):
        if source == "ase_continuousp":
            public = set(names) & set(ase_continuousp.__all__) - {"__version__"}
            assert not public, f"import {public} from where they are defined"


@pytest.mark.parametrize("module", FILES)
def test_only_the_plugin_touches_the_unstable_part_of_ase(module: str) -> None:
    for source, names in imports(ast.parse(FILES[module].read_text())):
        unstable = source.startswith("ase._4") or (source == "ase" and "_4" in names)
        assert not unstable or module == "ase_continuousp.plugin"


@pytest.mark.parametrize("module", FILES)
def test_functions_import_only_what_is_heavy_or_optional(module: str) -> None:
    allowed = set(HEAVY_OR_OPTIONAL)
    if module.startswith("ase_continuousp.cli"):
        # "--help" must load neither torch nor the half of SciPy that optimizers of ASE import.
        allowed |= {"ase", "ase_continuousp", "tqdm"}
    if module == "ase_continuousp.plugin":
        allowed.add("ase")  # which imports this module while it is itself being imported
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.FunctionDef):
            for source, _ in imports(node):
                assert source.partition(".")[0] in allowed, f"line {node.lineno} of {module}"

"""One thread per test process, deterministic hypothesis, no device that is not there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Before numpy, numba or torch are imported: pytest-xdist supplies the parallelism.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
from ase.build import bulk
from hypothesis import HealthCheck, settings

if TYPE_CHECKING:
    from ase_continuousp import TrainConfig

_CALM = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile(
    "ci",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=30,
    suppress_health_check=_CALM,
    print_blob=True,
)
settings.register_profile("deep", deadline=None, max_examples=1000, suppress_health_check=_CALM)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(scope="session", autouse=True)
def _kernels_are_compiled() -> None:
    """Equal numbers whether or not this is the first run on a machine; see `test_prompt`."""
    from ase_continuousp.model.prompt import settle

    settle()


SALTS = (5.4, 5.5, 5.6, 5.7)


@pytest.fixture(scope="session")
def salt_priors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Priors of four crystals of salt: what takes longest in a short training run."""
    from ase_continuousp.io import from_atoms
    from ase_continuousp.starts.priors import Priors

    path = tmp_path_factory.mktemp("priors") / "priors.json"
    salts = [bulk("NaCl", "rocksalt", a=a) for a in SALTS]
    Priors.fit(from_atoms(salts), n_steps=20).save(path)
    return path


@pytest.fixture
def trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, salt_priors: Path
) -> Callable[..., Path]:
    """Return a function that trains on four crystals of salt into a folder of that name."""
    from ase_continuousp import train

    monkeypatch.setenv("ASE_CONTINUOUSP_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "salts.extxyz"
    for a in SALTS:
        bulk("NaCl", "rocksalt", a=a).write(path, append=True)

    def run(config: TrainConfig, name: str, val: bool = False, **options: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        shutil.copy(salt_priors, folder)
        return train(config, path, folder, val=path if val else None, **options)

    return run


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked ``cuda`` where no CUDA device is found."""
    marked = [item for item in items if item.get_closest_marker("cuda")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))

"""One thread per test process, deterministic hypothesis, no device that is not there."""

from __future__ import annotations

import os

# Before numpy, numba or torch are imported: pytest-xdist supplies the parallelism.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
from hypothesis import HealthCheck, settings

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked ``cuda`` where no CUDA device is found."""
    marked = [item for item in items if item.get_closest_marker("cuda")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))

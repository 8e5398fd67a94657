"""``info``: versions, devices and backends."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import typer

_PACKAGES = (
    "ase", "numpy", "scipy", "numba", "torch", "safetensors", "pymatgen", "spglib",
    "torch-scatter", "pyxtal", "matplotlib", "numba-cuda", "lightning",
)  # fmt: skip


def run() -> None:
    """Show versions, devices and backends, for bug reports."""
    import numba
    import torch

    from ase_continuousp import __version__, pretrained

    typer.echo(f"ase-continuousp {__version__}, Python {platform.python_version()}")
    for name in _PACKAGES:
        try:
            found = version(name)
        except PackageNotFoundError:
            found = "not installed"
        typer.echo(f"  {name:14s} {found}")
    cuda = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    typer.echo(f"CUDA devices: {', '.join(cuda) or 'none'}")
    typer.echo(f"threads: torch {torch.get_num_threads()}, numba {numba.get_num_threads()}")
    typer.echo("neighbor search backends: cpu, reference")
    typer.echo(f"models: {', '.join(pretrained.list_models()) or 'none'}")

"""``average``: one model whose weights are the mean of those of others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def run(
    model: Annotated[
        list[str], typer.Option("--model", help="Name or folder of a model; two or more.")
    ],
    out: Annotated[Path, typer.Option(help="New folder of the mean.")],
) -> None:
    """Average the weights of models that were trained on from each other."""
    from ase_continuousp.training.averaging import average_models

    typer.echo(f"model: {average_models(model, out)}")

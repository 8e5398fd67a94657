"""``models``: what ships, and what was measured."""

from __future__ import annotations

import json

import typer


def run() -> None:
    """List the shipped models with their training data and measured numbers."""
    from ase_continuousp import pretrained

    for name in pretrained.list_models():
        card = json.loads((pretrained.model_path(name) / "card.json").read_text("utf-8"))
        training = card["training"]
        minutes = training["minutes"] + sum(
            one["minutes"] for one in training.get("started_from", [])
        )
        typer.echo(
            f"{name}: {len(card['elements'])} elements, trained on {', '.join(training['data'])} "
            f"({training['crystals']} crystals, {minutes:.0f} min); "
            f"data licence {card.get('data_licence', 'not stated')}"
        )
        for row in card.get("measured", []):
            counted = f", {row['counted']}" if "counted" in row else ""
            typer.echo(
                f"  {row['data']}, start {row['start']}, chains {row['chains']}, "
                f"k {row['k']}{counted}: "
                f"match {row['match_rate']:.3f}, strict {row['strict_rate']:.3f}, "
                f"RMSE {row['rmse']:.3f} (n {row['n']})"
            )

"""Entry point of ``ase-continuousp``: errors in one line, tracebacks only with ``--debug``."""

from __future__ import annotations

import logging
import sys
import traceback
import warnings
from typing import Any, NoReturn

import typer

from ase_continuousp import __version__
from ase_continuousp.cli import (
    anneal,
    average,
    calibrate,
    evaluate,
    info,
    inputs,
    judge,
    library,
    models,
    polish,
    predict,
    ranker,
    relax,
    train,
    typical,
)

app = typer.Typer(
    name="ase-continuousp",
    help="Crystal structures from a learned, invariant and continuous energy.",
    invoke_without_command=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (
    predict,
    relax,
    anneal,
    inputs,
    train,
    typical,
    average,
    library,
    judge,
    ranker,
    polish,
    calibrate,
    evaluate,
    models,
    info,
):
    app.command(verb.__name__.rsplit(".", 1)[1])(verb.run)

# Newer versions of typer carry their own copy of click; this is the base of usage errors in either.
_UsageError: Any = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")

_INTERRUPTED = 130  # as shells report it; newer versions of typer return it instead of raising

# What bad input raises; anything else is a fault of the program and shows its traceback.
_EXPECTED = (ValueError, TypeError, OSError, ImportError)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ase-continuousp {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks and log messages."),
    _version: bool = typer.Option(
        False, "--version", help="Show the version.", callback=_show_version, is_eager=True
    ),
) -> None:
    if debug:
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    else:
        # The packages below warn about files that users cannot change.
        warnings.simplefilter("ignore")
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main() -> None:
    """Run the command line and exit: 0 done, 2 bad input, 130 interrupted."""
    debug = "--debug" in sys.argv
    arguments = [a for a in sys.argv[1:] if a != "--debug"]  # accepted anywhere on the line
    try:
        status = app(["--debug", *arguments] if debug else arguments, standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):
        _fail("interrupted", _INTERRUPTED)
    except _UsageError as error:
        _fail(error.format_message(), 2)
    except _EXPECTED as error:
        if debug:
            traceback.print_exc()
        _fail(str(error) or type(error).__name__, 2)
    if status == _INTERRUPTED:
        _fail("interrupted", _INTERRUPTED)
    sys.exit(status if isinstance(status, int) else 0)


def _fail(message: str, status: int) -> NoReturn:
    line = " ".join(message.split())
    typer.echo(f"ase-continuousp: error: {line}", err=True)
    sys.exit(status)

"""Write docs/commands.md: every verb of ``ase-continuousp`` with every option that it takes.

``python docs/commands.py`` makes the page from the signatures of the verbs; ``make test`` fails
where the two differ.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import typer

from ase_continuousp.cli.main import app

PAGE = Path(__file__).with_name("commands.md")
HEAD = """# All commands and options

Made by `python docs/commands.py` from the command line itself. Bad input ends with one line on
stderr and exit status 2; `--debug` before the verb shows the traceback.
"""


def page() -> str:
    """Return the text of the page."""
    verbs = [(one.name, one.callback) for one in app.registered_commands]
    return "\n".join([HEAD, *(line for verb in verbs for line in _section(*verb))])


def _section(name: str | None, verb: Callable[..., Any] | None) -> Iterator[str]:
    assert verb is not None
    yield f"## `ase-continuousp {name}`\n"
    yield inspect.cleandoc(verb.__doc__ or "").split("\n\n")[0].replace("\n", " ") + "\n"
    parameters = inspect.signature(verb).parameters
    if not parameters:
        return
    yield "| option | if not given | what it is |\n|---|---|---|"
    hints = get_type_hints(verb, include_extras=True)
    for key, parameter in parameters.items():
        yield _row(key, get_args(hints[key])[1], parameter.default)
    yield ""


def _row(key: str, described: Any, default: Any) -> str:
    if isinstance(described, typer.models.ArgumentInfo):
        names = [key.upper()]
    else:
        # Within Annotated, typer keeps the first name of an option as its "default".
        named = [described.default] if isinstance(described.default, str) else []
        names = [*named, *(described.param_decls or ())] or [f"--{key.replace('_', '-')}"]
    if default is inspect.Parameter.empty:
        shown = "required"
    else:
        shown = "" if default is None or default is False or default == "" else f"`{default}`"
    about = (described.help or "").replace("|", "\\|")
    return f"| {', '.join(f'`{name}`' for name in names)} | {shown} | {about} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

"""One self-contained page of results: it opens anywhere and asks the network for nothing."""

from ase_continuousp.page.render import render

__all__ = ["render"]

"""What `ase info --plugins` shows of this package; the only module that touches ``ase._4``.

ASE 3.29 and later load this module through the entry point group ``ase.plugins`` and take the set
``__ase_plugins__``; earlier versions never import it. ASE looks calculators up by name elsewhere:
``get_calculator_class("continuousp")`` works once `ase_continuousp.calculator` has been imported,
because that module registers its class. The plugin interface of ASE is experimental, so nothing
else may depend on it.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    """Return the plugins when ASE asks for them.

    ASE collects plugins while it imports its own plugin package. Imported at the top, that package
    would come back to this module, half loaded, and find nothing.
    """
    if name != "__ase_plugins__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ase._4.plugins.plugin import CalculatorPlugin

    return {
        CalculatorPlugin(
            name="continuousp",
            citation="Tone et al., arXiv:2502.02026 (2025)",
            # A name, not the class: listing the plugins must not import torch.
            implementation="ase_continuousp.calculator.ContinuouSPCalculator",
        )
    }

"""How many elements have the structure of ASE's reference states first, from their symbol alone.

    python benchmarks/elements.py

Counted are the elements of the model that are fcc, bcc, hcp or diamond by
`ase.data.reference_states`, with 12 prototypes each; "without" counts known forms also where the
stable one is not among them (`ase_continuousp.starts.stability.lacks_stable_form`).
"""

from __future__ import annotations

import argparse
import warnings
from contextlib import nullcontext
from unittest.mock import patch

from ase.build import bulk
from ase.data import chemical_symbols, reference_states
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.io.ase import AseAtomsAdaptor

from ase_continuousp import load_model, predict

RULE = "ase_continuousp.starts.stability.lacks_stable_form"
KINDS = ("fcc", "bcc", "hcp", "diamond")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mp20")
    model = load_model(parser.parse_args().model)
    warnings.simplefilter("ignore")
    states = {z: reference_states[z] or {} for z in model.elements}
    # Se and Te are called hcp, with a basis that ASE does not have.
    symbols = [
        chemical_symbols[z]
        for z, one in states.items()
        if one.get("symmetry") in KINDS and "basis" not in one
    ]
    matcher, counts = StructureMatcher(), []
    for symbol in symbols:
        wanted = AseAtomsAdaptor.get_structure(bulk(symbol))
        first = []
        for rule in (nullcontext(), patch(RULE, return_value=False)):
            with rule:
                found = predict(symbol, model=model, n_samples=12, start="prototype")
            first.append(matcher.fit(AseAtomsAdaptor.get_structure(found[0].atoms), wanted))
        counts.append(first)
        if first[0] != first[1]:
            print(f"{symbol}: {'right' if first[0] else 'wrong'}, without the rule the other way")
    right, without = (sum(one[k] for one in counts) for k in (0, 1))
    print(f"{len(counts)} elements: first right {right}, without {without}")


if __name__ == "__main__":
    main()

"""Rank of the textbook structure among what `predict` offers for a formula alone.

Each line is a compound with its structure as textbooks give it (space group, Wyckoff positions and
lattice constants below; nothing from a data set), its rank with the whole prototype library, and
its rank when the very compound is taken out of the library ("without"). A candidate counts if
pymatgen's StructureMatcher with its default tolerances maps it on the textbook structure; the
space group is that of the first such candidate. Ranks of 0 mean that no candidate matched.
"""

import argparse
import time
import warnings
from fractions import Fraction

from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.io.ase import AseAtomsAdaptor

from ase_continuousp import Candidate, load_model
from ase_continuousp.search.composition import choose_units, formula_unit, parse_formula
from ase_continuousp.search.predict import search
from ase_continuousp.search.sources import Sources, read_priors, sources_of_model
from ase_continuousp.starts.prototype import PrototypeStart

# formula | name | "bulk" and its arguments, or space group:setting | lattice constants | sites
TABLE = """\
MgO | rock salt | bulk MgO rocksalt a=4.21
NaCl | rock salt | bulk NaCl rocksalt a=5.64
GaAs | zinc blende | bulk GaAs zincblende a=5.65
CaF2 | fluorite | bulk CaF2 fluorite a=5.46
SrTiO3 | perovskite | 221:1 | 3.905 | Sr 0 0 0, Ti 0.5 0.5 0.5, O 0 0.5 0.5
TiO2 | rutile | 136:1 | 4.594 2.959 | Ti 0 0 0, O 0.305 0.305 0
ZnO | wurtzite, zinc blende | bulk ZnO wurtzite a=3.25 c=5.2
ZnO | wurtzite, zinc blende | bulk ZnO zincblende a=4.6
Si | diamond | bulk Si diamond a=5.43
Mg | hcp | bulk Mg hcp a=3.21 c=5.21
TiO2 | anatase | 141:1 | 3.785 9.514 | Ti 0 0 0, O 0 0 0.208
MgAl2O4 | spinel | 227:2 | 8.08 | Mg 0.125 0.125 0.125, Al 0.5 0.5 0.5, O 0.2624 0.2624 0.2624
CsCl | CsCl | bulk CsCl cesiumchloride a=4.12
Al2O3 | corundum | 167:1 | 4.76 12.99 | Al 0 0 0.352, O 0.306 0 0.25
Li2O | antifluorite | bulk OLi2 fluorite a=4.62
NiAs | NiAs | 194:1 | 3.62 5.03 | Ni 0 0 0, As 1/3 2/3 0.25
MgBr2 | CdI2 | 164:1 | 3.81 6.26 | Mg 0 0 0, Br 1/3 2/3 0.25
TiNiSn | half-Heusler | 216:1 | 5.94 | Ti 0 0 0, Ni 0.25 0.25 0.25, Sn 0.5 0.5 0.5
Cu2MnAl | Heusler | 225:1 | 5.95 | Cu 0.25 0.25 0.25, Mn 0.5 0.5 0.5, Al 0 0 0
CuAlO2 | delafossite | 166:1 | 2.86 16.95 | Cu 0 0 0, Al 0 0 0.5, O 0 0 0.11
FeTiO3 | ilmenite | 148:1 | 5.088 14.09 | Fe 0 0 0.355, Ti 0 0 0.146, O 0.317 0.023 0.245
CaCO3 | calcite | 167:1 | 4.99 17.06 | Ca 0 0 0, C 0 0 0.25, O 0.2568 0 0.25
ZrSiO4 | zircon | 141:2 | 6.607 5.982 | Zr 0 0.75 0.125, Si 0 0.25 0.375, O 0 0.066 0.195
CuFeS2 | chalcopyrite | 122:1 | 5.289 10.423 | Cu 0 0 0, Fe 0 0 0.5, S 0.2574 0.25 0.125
Cu3Au | Cu3Au | 221:1 | 3.75 | Au 0 0 0, Cu 0 0.5 0.5
MgB2 | AlB2 | 191:1 | 3.086 3.524 | Mg 0 0 0, B 1/3 2/3 0.5
MgCu2 | Laves C15 | 227:2 | 7.05 | Mg 0.125 0.125 0.125, Cu 0.5 0.5 0.5
MgZn2 | Laves C14 | 194:1 | 5.22 8.57 | Mg 1/3 2/3 0.062, Zn 0 0 0, Zn 0.8305 0.661 0.25
BaFe2As2 | ThCr2Si2 | 139:1 | 3.96 13.02 | Ba 0 0 0, Fe 0 0.5 0.25, As 0 0 0.3545
Cr3Si | A15 | 223:1 | 4.56 | Si 0 0 0, Cr 0.25 0 0.5
ReO3 | ReO3 | 221:1 | 3.75 | Re 0 0 0, O 0.5 0 0
K2NiF4 | K2NiF4 | 139:1 | 4.006 13.076 | K 0 0 0.352, Ni 0 0 0, F 0 0.5 0, F 0 0 0.151
MgCNi3 | antiperovskite | 221:1 | 3.81 | Mg 0 0 0, C 0.5 0.5 0.5, Ni 0 0.5 0.5
Cu2O | cuprite | 224:2 | 4.27 | O 0.25 0.25 0.25, Cu 0 0 0
FeS2 | pyrite | 205:1 | 5.417 | Fe 0 0 0, S 0.385 0.385 0.385
PbFCl | PbFCl | 129:2 | 4.11 7.25 | F 0.75 0.25 0, Pb 0.25 0.25 0.206, Cl 0.25 0.25 0.649
PbO | litharge | 129:2 | 3.976 5.023 | O 0.75 0.25 0, Pb 0.25 0.25 0.2385
MoS2 | 2H MoS2 | 194:1 | 3.16 12.29 | Mo 1/3 2/3 0.25, S 1/3 2/3 0.621
BN | hexagonal BN | 194:1 | 2.504 6.661 | B 1/3 2/3 0.25, N 1/3 2/3 0.75
GaN | wurtzite | bulk GaN wurtzite a=3.19 c=5.19
Cu | fcc | bulk Cu fcc a=3.61
Fe | bcc | bulk Fe bcc a=2.87
CaWO4 | scheelite | 88:2 | 5.243 11.376 | Ca 0 0.25 0.625, W 0 0.25 0.125, O 0.1507 0.0086 0.2106
CaTiO3 | GdFeO3 | 62:1 | 5.4423 7.6401 5.3796 |\
    Ca 0.036 0.25 -0.0068, Ti 0.5 0 0, O 0.4838 0.25 0.0714, O 0.2888 0.0371 0.7108
LiCoO2 | NaFeO2 | 166:1 | 2.816 14.05 | Li 0 0 0, Co 0 0 0.5, O 0 0 0.24
Bi2Te3 | tetradymite | 166:1 | 4.38 30.5 | Bi 0 0 0.4, Te 0 0 0, Te 0 0 0.2095
LaNi5 | CaCu5 | 191:1 | 5.01 3.98 | La 0 0 0, Ni 1/3 2/3 0, Ni 0.5 0 0.5
WC | WC | 187:1 | 2.906 2.837 | W 0 0 0, C 1/3 2/3 0.5
MoSi2 | MoSi2 | 139:1 | 3.2 7.85 | Mo 0 0 0, Si 0 0 1/3
K2PtCl6 | K2PtCl6 | 225:1 | 9.75 | K 0.25 0.25 0.25, Pt 0 0 0, Cl 0.24 0 0
Ba2MgWO6 | double perovskite | 225:1 | 8.1 |\
    Ba 0.25 0.25 0.25, Mg 0.5 0.5 0.5, W 0 0 0, O 0.237 0 0
La2O3 | La2O3 | 164:1 | 3.94 6.13 | La 1/3 2/3 0.246, O 0 0 0, O 1/3 2/3 0.647
PtS | cooperite | 131:1 | 3.47 6.11 | Pt 0 0.5 0, S 0 0 0.25
"""


def structure(fields: list[str]) -> Atoms:
    """Return the crystal that a line of the table describes."""
    if fields[2].startswith("bulk"):
        _, name, kind, *lengths = fields[2].split()
        return bulk(name, kind, **{k: float(v) for k, v in (x.split("=") for x in lengths)})
    group, setting = map(int, fields[2].split(":"))
    lengths = [float(x) for x in fields[3].split()]
    a, b, c = (lengths * 3)[:3] if len(lengths) != 2 else (lengths[0], *lengths)
    sites = [site.split() for site in fields[4].split(",")]
    return crystal(
        [site[0] for site in sites],
        [[float(Fraction(x)) for x in site[1:]] for site in sites],
        spacegroup=group,
        setting=setting,
        cellpar=[a, b, c, 90, 90, 120 if 143 <= group < 195 else 90],
    )


def compounds() -> dict[tuple[str, str], list[Atoms]]:
    """Return the structures that count for each formula and name."""
    made: dict[tuple[str, str], list[Atoms]] = {}
    for line in TABLE.splitlines():
        fields = [field.strip() for field in line.split("|")]
        made.setdefault((fields[0], fields[1]), []).append(structure(fields))
    return made


def rank(found: list[Candidate], wanted: list[Atoms]) -> tuple[int, int]:
    """Return rank and space group of the first candidate that matches, zeros without one."""
    matcher, structures = StructureMatcher(), [AseAtomsAdaptor.get_structure(a) for a in wanted]
    for place, candidate in enumerate(found, start=1):
        offered = AseAtomsAdaptor.get_structure(candidate.atoms)
        if any(matcher.fit(offered, one) for one in structures):
            return place, candidate.spacegroup[1]
    return 0, 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mp20")
    parser.add_argument("--only", nargs="*", help="formulas")
    parser.add_argument("--start", default="mixed")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    model = load_model(options.model)
    priors = read_priors(model.path)
    sources = sources_of_model(model.path, options.start, priors=priors)
    known = sources.starts["prototype"]
    print("formula   structure              group  atoms  rank (group)  without (group)  seconds")
    ranks = []
    for (formula, name), wanted in compounds().items():
        if options.only and formula not in options.only:
            continue
        unit, _ = formula_unit(parse_formula(formula))
        shortened = PrototypeStart(known.library, priors, leave_out=[formula], noise=known.noise)
        places, begin = [], time.perf_counter()
        for prototypes in (known, shortened):
            used = Sources(sources.kind, {**sources.starts, "prototype": prototypes})
            found = search(model, used, unit, choose_units(unit), priors)
            places.append(rank(found or [], wanted))
        seconds = (time.perf_counter() - begin) / 2
        primitive = AseAtomsAdaptor.get_structure(wanted[0]).get_primitive_structure()
        group = primitive.get_space_group_info()[1]
        (first, its), (second, other) = places
        ranks.append((first, second))
        print(
            f"{formula:9s} {name:22s} {group:5d} {len(primitive):6d} {first:5d} ({its:3d})"
            f" {second:10d} ({other:3d}) {seconds:12.1f}",
            flush=True,
        )
    for limit in (1, 5, 20):
        counts = [sum(0 < r[k] <= limit for r in ranks) for k in (0, 1)]
        print(f"among the first {limit}: {counts[0]}, without {counts[1]}, of {len(ranks)}")


if __name__ == "__main__":
    main()

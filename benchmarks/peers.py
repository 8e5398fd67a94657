"""Print what the extra `bench` asks for, one requirement a line: `make bench` installs each alone,
so that one that cannot be had here does not keep the others out."""

from importlib.metadata import requires

for line in requires("ase-continuousp") or []:
    requirement, _, marker = line.partition(";")
    if "extra" in marker and "bench" in marker:
        print(requirement.strip())

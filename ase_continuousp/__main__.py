"""``python -m ase_continuousp``: the command line, where its script is not on the PATH."""

from ase_continuousp.cli.main import main

if __name__ == "__main__":
    main()

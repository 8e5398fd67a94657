"""Energies of crystals, their derivatives and their files."""

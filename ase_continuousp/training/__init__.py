"""Training of energies on crystals."""

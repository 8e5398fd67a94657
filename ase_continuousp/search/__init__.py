"""From a composition to a short ranked list of crystals."""

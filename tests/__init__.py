"""Tests, one module per module of the package, with shared systems and strategies."""

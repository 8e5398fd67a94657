"""How often, and how closely, a model finds the true crystal."""

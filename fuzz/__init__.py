"""Inputs that nobody thought of, against what guards the way out. `python -m fuzz` runs them."""

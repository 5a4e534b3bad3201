"""Budgets: how much may leave in a time, counted at its worst until it is known."""

"""Incoming payments: what an invoice can be, what is asked of it, and what becomes of it."""

"""Outgoing payments: what they can be, what is asked of them, and what becomes of them."""

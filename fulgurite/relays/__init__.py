"""Relays: an invoice that is held until a payment of the same hash has its verdict."""

"""How the world is touched: small, idempotent, heartbeating. One class a remote service."""

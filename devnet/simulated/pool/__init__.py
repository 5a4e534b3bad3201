"""A simulated poold and the market behind it: real coins, real channels, one ledger."""

"""A simulated loopd and the swap server behind it: real payments, real coins, one ledger."""

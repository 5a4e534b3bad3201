"""How channels end: their commitments on the chain, every output of these, and the sweeps."""

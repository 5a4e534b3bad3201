"""The autopilot: which channel wants liquidity, what each remedy costs, and why nothing is done."""

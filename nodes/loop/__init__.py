"""loopd: its connection, its errors, and its swaps in our own types."""

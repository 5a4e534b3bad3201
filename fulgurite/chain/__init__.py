"""Chain time: heights, and who waits for them."""

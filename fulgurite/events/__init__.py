"""What the rest of the world is told: events, and how they reach those who want them."""

"""Channels: what they hold, how they end, and what that costs."""

"""Sending webhooks: where they may go, how they are signed, and what was answered."""

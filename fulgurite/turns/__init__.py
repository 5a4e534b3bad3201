"""One writer a channel: who moves money on a channel, or closes it, takes turns."""

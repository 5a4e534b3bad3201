"""Who asks: the typed client, the `fulgurite` command, and the published schemas."""

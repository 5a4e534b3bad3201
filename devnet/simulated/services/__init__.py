"""lnd's gRPC services, each in a room of its own."""

"""LND over gRPC."""

"""What the simulated network promises, asked over gRPC as any client would."""

"""Connections to the services we drive: protobuf becomes domain types here and nowhere else."""

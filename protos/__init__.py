"""The wire: our .proto files and the code that `make protos` generates from them."""

"""A payment that hangs: the ladder that ends it, and what each rung may do."""

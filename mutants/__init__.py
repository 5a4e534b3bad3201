"""Known defects, to be put back one by one: does a test notice each? `python -m mutants`."""

"""What must happen: one module a lifecycle. Workflows decide and wait, and touch nothing.

A reader who knows Lightning but not Temporal starts here.
"""

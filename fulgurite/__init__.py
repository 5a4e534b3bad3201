"""What it means: the language of the domain. No Temporal, no gRPC, no input or output.

A reader who knows Temporal but not Lightning starts here.
"""

"""A month of a routing node with twenty channels, in a model: who keeps it liquid, at what price.

Only the node's surroundings are a model. The autopilot in it is the planner that the workers
run, with its policy, its forecasts and its memory.
"""

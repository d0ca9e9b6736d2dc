"""A small world where truth is known: both answering and judging can be learned by a model of 0.34 M weights.

A prompt is an operation and five digits, its answer is a function of them, so that every figure of the loop can be
held against truth. `python -m examples.world.make` writes the data, `python -m examples.world.proof` runs the loop.
"""

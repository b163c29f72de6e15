"""Benchmarks that compare Mammoscope with alternatives: ``python -m benchmarks``.

They are not part of the product. Whatever they start has its own environment.
"""

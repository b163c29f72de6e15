"""Measurements beside what others do: ``python -m benchmarks engine|service|train``.

Nothing here is part of the product. What it starts has environments of its own.
"""

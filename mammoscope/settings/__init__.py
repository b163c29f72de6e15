"""Frozen settings of the service and of training.

No other part of the package reads the environment. All defaults are here. An unknown key is an
error.
"""

"""Frozen settings of the service and of training.

This is the only part of the package that reads the environment. Defaults stand here and nowhere
else; an unknown key is an error.
"""

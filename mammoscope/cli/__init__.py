"""The commands of ``python -m mammoscope``, a module each."""

"""Synthetic mammograms, also as DICOM objects."""

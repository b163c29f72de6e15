"""Synthetic mammograms, as image files and as DICOM objects."""

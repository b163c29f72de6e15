"""Folders of mammograms to examples that know their patient."""

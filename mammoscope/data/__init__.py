"""Read folders of mammograms into examples with their patients."""

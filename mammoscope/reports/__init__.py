"""Figures and tables of training runs and data sets.

All figures share one style: SVG, and colours that people with a colour vision deficiency can tell
apart. The same record always gives the same bytes. The service does not use this package.
"""

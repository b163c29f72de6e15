"""Figures and tables from the records of training runs, and of what a data set holds.

One style for all: SVG, colours that colour-blind people can tell apart, and the same bytes for
the same record. Nothing here belongs to the serving path.
"""

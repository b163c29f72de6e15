"""Measures of scored images, with intervals clustered by patient; NumPy only.

There are three levels: image, breast (mean of the logits of its views) and patient (maximum over
the breasts). Every interval is a 95 % percentile interval of 2,000 bootstrap resamples of patients,
so that images of the same patient do not count as independent.
"""

"""Mammoscope: a mammogram classifier that can be put to work.

Data flows one way through the modules of this package::

    folder or bytes -> Mammogram -> network input -> network -> score -> Prediction -> client

Research software, not a medical device.
"""

__version__ = "0.1.0"

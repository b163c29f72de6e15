"""A pool of child processes that read images.

Decoders are large programs in C that run on bytes anybody sent. Here they run where they can do no
harm: each image is read by one of a few processes with a limit of memory, of processor time and of
time on the clock. A process that exceeds one is killed and replaced, and nobody but the sender of
that image notices.
"""

from mammoscope.imaging.pool.pool import PoolLimits, ReadingPool

__all__ = ["PoolLimits", "ReadingPool"]

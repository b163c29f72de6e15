"""A pool of child processes that read images.

Decoders are large C programs that process untrusted bytes, so they run isolated from the service.
Each image is read by one of a few processes with limits on memory, processor time and elapsed time.
A process that exceeds a limit is killed and replaced; only the sender of that image is affected.
"""

from mammoscope.imaging.pool.pool import PoolLimits, ReadingPool

__all__ = ["PoolLimits", "ReadingPool"]

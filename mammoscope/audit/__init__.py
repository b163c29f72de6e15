"""What is in a folder of mammograms, and what would spoil a result obtained with it."""

from mammoscope.audit.auditing import audit
from mammoscope.audit.description import describe
from mammoscope.audit.findings import AuditReport

__all__ = ["AuditReport", "audit", "describe"]

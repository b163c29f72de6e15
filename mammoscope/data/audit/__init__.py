"""What is in a folder of mammograms, and what would spoil a result obtained with it."""

from mammoscope.data.audit.auditing import audit
from mammoscope.data.audit.description import describe
from mammoscope.data.audit.findings import AuditReport

__all__ = ["AuditReport", "audit", "describe"]

"""Audit a folder of mammograms: its content, and what would invalidate results on it."""

from mammoscope.data.audit.auditing import audit
from mammoscope.data.audit.description import describe
from mammoscope.data.audit.findings import AuditReport

__all__ = ["AuditReport", "audit", "describe"]

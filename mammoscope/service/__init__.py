"""The HTTP service: routes, statuses, headers and pages.

It is independent of where its settings and its engine come from.
"""

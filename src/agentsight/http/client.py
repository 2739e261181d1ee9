"""The HTTP client under its older path; see `agentsight.transport`."""

from agentsight.transport import HTTPClient

__all__ = ["HTTPClient"]

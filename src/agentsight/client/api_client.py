"""The reading client under its older path; see `agentsight`."""

from ..api import AgentSightAPI, agentsight_api

__all__ = ["AgentSightAPI", "agentsight_api"]

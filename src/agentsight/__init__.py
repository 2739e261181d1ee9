"""AgentSight: see what your AI agents say and do."""

__version__ = "1.0.0"

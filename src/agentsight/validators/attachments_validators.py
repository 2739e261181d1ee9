"""See `agentsight.validators`."""

from . import *  # noqa: F403

"""Buttons an agent is known to offer."""

from alembic import op

from agentsight.storage.sql.schema import button, metadata

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    metadata.create_all(op.get_bind(), tables=[button])

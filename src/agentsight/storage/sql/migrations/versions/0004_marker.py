"""How far the search index has come."""

from alembic import op

from agentsight.storage.sql.schema import marker, metadata

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    metadata.create_all(op.get_bind(), tables=[marker])

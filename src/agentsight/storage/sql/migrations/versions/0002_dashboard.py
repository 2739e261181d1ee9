"""Reports and shares. A database made by a version that knew them already has them."""

from alembic import op

from agentsight.storage.sql.schema import metadata, report, share

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    metadata.create_all(op.get_bind(), tables=[report, share])

"""What a share shows, and what its frame is bound to. Conversations shared before showed neither customer nor metadata."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    for name, otherwise in (("sight", "numbers"), ("theme", "auto"), ("widgets", "[]")):
        op.add_column("share", sa.Column(name, sa.Text(), nullable=False, server_default=otherwise))
    op.execute("UPDATE share SET sight = 'no_costs' WHERE kind = 'conversation'")

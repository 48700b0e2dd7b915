import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade():
    op.create_table(
        "event", sa.Column("id", sa.Integer(), primary_key=True), sa.Column("code", sa.String(20), nullable=False, unique=True)
    )
    op.create_table("team", sa.Column("id", sa.Integer(), primary_key=True), sa.Column("name", sa.String(60), nullable=False))
    op.create_table(
        "report",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("team_id", sa.Integer(), sa.ForeignKey("team.id"), nullable=False),
        sa.Column("event_id", sa.Integer(), sa.ForeignKey("event.id"), nullable=False),
        sa.Column("points", sa.Integer()),
        sa.Column("text", sa.String(80)),
        sa.Column("legacy", sa.String(10)),
    )

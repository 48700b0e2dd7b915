"""What Alembic's batch mode does to SQLite: every table is built anew under another name, filled, and renamed."""
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    with op.batch_alter_table("team") as batch:
        batch.add_column(sa.Column("region", sa.String(20), nullable=False, server_default="unknown"))
    op.execute("UPDATE report SET text = '' WHERE text IS NULL")
    with op.batch_alter_table("report", recreate="always") as batch:
        batch.alter_column("text", existing_type=sa.String(80), type_=sa.Text(), nullable=False)
        batch.drop_column("legacy")
        batch.create_index("ix_report_team", ["team_id"])
    op.create_table(
        "reader",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("report_id", sa.Integer(), sa.ForeignKey("report.id", ondelete="CASCADE"), nullable=False),
        sa.Column("name", sa.String(40), nullable=False),
    )

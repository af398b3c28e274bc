# The collection is made by `queues.indexes`; the migration keeps Django's picture of the model.
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("queues", "0008_event")]

    operations = [
        migrations.AddField(
            model_name="queue",
            name="retrying_since",
            field=models.DateTimeField(
                db_column="retryingSince",
                default=None,
                editable=False,
                help_text=(
                    "since when handlers have asked for retries and no attempt has completed, as of the last attempt"
                ),
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="queue",
            name="reported_problems",
            field=models.CharField(
                db_column="reportedProblems",
                default="",
                editable=False,
                help_text="the problems that events reported last (see queues.health.changes)",
                max_length=100,
            ),
        ),
        migrations.AddField(
            model_name="queue",
            name="problems_reported_at",
            field=models.DateTimeField(
                db_column="problemsReportedAt", default=None, editable=False, help_text="as of when they did", null=True
            ),
        ),
    ]

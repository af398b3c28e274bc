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
    ]

# The collection is made by `queues.indexes`; the migration keeps Django's picture of the model.
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("queues", "0005_trips")]

    operations = [
        migrations.AddField(
            model_name="queue",
            name="counted_failures",
            field=models.JSONField(
                db_column="countedFailures",
                default=None,
                editable=False,
                help_text=(
                    "failures that a breaker counted in runs that a time limit ended: when (epoch seconds), and how many"
                ),
                null=True,
            ),
        ),
    ]

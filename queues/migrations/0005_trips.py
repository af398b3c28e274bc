# The collection is made by `queues.indexes`; the migration keeps Django's picture of the model.
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("queues", "0004_permissions_and_looks")]

    operations = [
        migrations.AddField(
            model_name="queue",
            name="trip_count",
            field=models.PositiveIntegerField(
                db_column="tripCount",
                default=0,
                editable=False,
                help_text="runs in a row that tripped: a dependency was down",
            ),
        ),
        migrations.AddField(
            model_name="queue",
            name="trip_reason",
            field=models.TextField(
                db_column="tripReason",
                default=None,
                editable=False,
                help_text="why the last of them did",
                null=True,
            ),
        ),
    ]

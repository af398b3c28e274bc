# The collection is made by `jobs.indexes`; the migration keeps Django's picture of the model.
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0013_notices")]

    operations = [
        migrations.AddField(
            model_name="worker",
            name="wanted_capacity",
            field=models.PositiveIntegerField(
                db_column="wantedCapacity",
                default=None,
                help_text="what was asked for; the worker follows",
                null=True,
            ),
        ),
        migrations.AddField(
            model_name="worker",
            name="capacity_limit",
            field=models.PositiveIntegerField(
                db_column="capacityLimit",
                default=None,
                help_text="the most that may be asked for (MAX_LOAD_LIMIT); null: an earlier release, which cannot follow",
                null=True,
            ),
        ),
        migrations.AlterField(
            model_name="worker",
            name="capacity",
            field=models.PositiveIntegerField(help_text="consumers that it runs at once"),
        ),
    ]

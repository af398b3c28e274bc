# The collection is made by `jobs.indexes`; the migration keeps Django's picture of the model.
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("jobs", "0010_alerts")]

    operations = [
        migrations.AddField(
            model_name="job",
            name="retried_count",
            field=models.PositiveIntegerField(
                db_column="retriedCount",
                default=0,
                help_text="attempts for which the handler asked for a retry: they are no failures",
                verbose_name="retries",
            ),
        ),
    ]

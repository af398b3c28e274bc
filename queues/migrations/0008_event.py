# The collection is made by `jobs.indexes`; the migration keeps Django's picture of the model, and its permission.
import django_mongodb_backend.fields
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("queues", "0007_health")]

    operations = [
        migrations.CreateModel(
            name="Event",
            fields=[
                (
                    "id",
                    django_mongodb_backend.fields.ObjectIdAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("at", models.DateTimeField()),
                ("kind", models.CharField(max_length=40)),
                (
                    "queue_name",
                    models.CharField(
                        db_column="queueName", default=None, max_length=80, null=True, verbose_name="queue"
                    ),
                ),
                (
                    "subject",
                    models.CharField(
                        default=None, max_length=200, null=True, verbose_name="worker, master or handler"
                    ),
                ),
                ("actor", models.CharField(default="", max_length=200, verbose_name="by")),
                ("text", models.TextField()),
            ],
            options={"db_table": "events", "ordering": ("-at",), "managed": False, "default_permissions": ("view",)},
        ),
    ]

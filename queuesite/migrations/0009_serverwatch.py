"""Whether MongoDB answers, kept for notices."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("queuesite", "0008_help_of_tokens"),
    ]

    operations = [
        migrations.CreateModel(
            name="ServerWatch",
            fields=[
                ("name", models.CharField(max_length=20, primary_key=True, serialize=False)),
                ("away_since", models.DateTimeField(default=None, null=True)),
                ("notified_at", models.DateTimeField(default=None, null=True)),
                ("silent_until", models.DateTimeField(default=None, null=True)),
            ],
            options={
                "default_permissions": (),
            },
        ),
    ]

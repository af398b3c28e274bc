"""A help text of tokens."""

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("queuesite", "0007_predefined_groups"),
    ]

    operations = [
        migrations.AlterField(
            model_name="token",
            name="read_only",
            field=models.BooleanField(default=False, help_text="allow only GET requests"),
        ),
    ]

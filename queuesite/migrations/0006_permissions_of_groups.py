"""Empty since the groups are made after each `migrate` (`queuesite.groups`)."""

from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ("queuesite", "0005_owners_without_names"),
    ]

    operations = []

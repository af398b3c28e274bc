"""Old tasks and keys are carried over. Apart from what alters tables, which PostgreSQL refuses with rows under way."""

from typing import Any

from django.conf import settings
from django.db import migrations


def carry_over(apps: Any, schema_editor: Any) -> None:
    alias = schema_editor.connection.alias
    users = apps.get_model(settings.AUTH_USER_MODEL).objects.using(alias)
    for model in ("BackgroundTask", "IdempotentRequest"):
        rows = apps.get_model("queuesite", model).objects.using(alias)
        for name in rows.values_list("owner", flat=True).order_by("owner").distinct():
            # By `username` and not by today's USERNAME_FIELD: a historical model has no such attribute.
            rows.filter(owner=name).update(user=users.filter(username=name).first())
    # Nobody can repeat the request of a user who is gone.
    apps.get_model("queuesite", "IdempotentRequest").objects.using(alias).filter(user=None).delete()



class Migration(migrations.Migration):

    dependencies = [
        ("queuesite", "0003_owners_by_key"),
    ]

    operations = [
        migrations.RunPython(carry_over, migrations.RunPython.noop),
    ]

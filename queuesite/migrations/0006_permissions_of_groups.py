"""The permissions to look at messages and to choose a handler, for the groups that could before and still may."""

from typing import Any

from django.apps import apps as installed
from django.contrib.auth.management import create_permissions
from django.db import migrations

#: Viewers looked before: a look costs a message a receive. Operators chose handlers: that decides over all messages.
GRANTED = {"peek_message": ("operators", "administrators"), "change_handler": ("administrators",)}


def grant(apps: Any, schema_editor: Any) -> None:
    alias = schema_editor.connection.alias
    create_permissions(installed.get_app_config("queues"), verbosity=0, using=alias)
    permissions = apps.get_model("auth", "Permission").objects.using(alias)
    for codename, names in GRANTED.items():
        permission = permissions.get(content_type__app_label="queues", codename=codename)
        for group in apps.get_model("auth", "Group").objects.using(alias).filter(name__in=names):
            group.permissions.add(permission)



class Migration(migrations.Migration):

    dependencies = [
        ("queuesite", "0005_owners_without_names"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [
        migrations.RunPython(grant, migrations.RunPython.noop),
    ]

"""What each predefined group has been granted. Groups that an earlier version made have been granted what it gave them."""

from typing import Any

import django.db.models.deletion
from django.db import migrations, models
from django.db.models import Q

VIEWERS = Q(content_type__app_label__in=("queues", "jobs"), codename__startswith="view_") | Q(
    codename="view_backgroundtask"
)
OPERATORS = VIEWERS | Q(
    content_type__app_label__in=("queues", "jobs"),
    codename__in=("change_queue", "send_message", "peek_message", "redrive_queue", "delete_failure", "change_worker"),
)
ADMINISTRATORS = (
    OPERATORS
    | Q(content_type__app_label="queues")
    | Q(content_type__app_label="queuesite", content_type__model="token")
    | Q(content_type__app_label="auth", content_type__model__in=("user", "group"))
    | Q(content_type__app_label="django_q", codename__startswith="view_")
    | Q(content_type__app_label="django_q", codename="change_schedule")
    | Q(codename__in=("view_accessattempt", "delete_accessattempt", "view_logentry"))
)


def record(apps: Any, schema_editor: Any) -> None:
    alias = schema_editor.connection.alias
    permissions = apps.get_model("auth", "Permission").objects.using(alias)
    records = apps.get_model("queuesite", "PredefinedGroup").objects.using(alias)
    for name, given in (("viewers", VIEWERS), ("operators", OPERATORS), ("administrators", ADMINISTRATORS)):
        group = apps.get_model("auth", "Group").objects.using(alias).filter(name=name).first()
        if group is not None:
            names = permissions.filter(given).values_list("content_type__app_label", "codename")
            records.create(name=name, group=group, granted=sorted(f"{label}.{codename}" for label, codename in names))


class Migration(migrations.Migration):

    dependencies = [
        ("queuesite", "0006_permissions_of_groups"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
    ]

    operations = [
        migrations.CreateModel(
            name="PredefinedGroup",
            fields=[
                ("name", models.CharField(max_length=150, primary_key=True, serialize=False)),
                (
                    "group",
                    models.OneToOneField(
                        help_text="empty: it was deleted, or somebody else's group had the name before",
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="auth.group",
                    ),
                ),
                ("granted", models.JSONField(default=list, help_text="`app.codename` of each permission")),
            ],
            options={"default_permissions": ()},
        ),
        migrations.RunPython(record, migrations.RunPython.noop),
    ]

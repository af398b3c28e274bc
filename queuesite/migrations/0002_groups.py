"""Three groups to start with: viewers see, operators steer, administrators do everything that is no superuser's."""

from typing import Any

from django.apps import apps as installed
from django.contrib.auth.management import create_permissions
from django.db import migrations
from django.db.models import Q

_APPS = ("queues", "jobs", "queuesite", "auth", "django_q", "axes", "admin")

VIEWERS = Q(content_type__app_label__in=("queues", "jobs"), codename__startswith="view_") | Q(
    codename="view_backgroundtask"
)
#: What can be undone, and what ends in order: no message is at stake.
OPERATORS = VIEWERS | Q(
    content_type__app_label__in=("queues", "jobs"),
    codename__in=("change_queue", "send_message", "redrive_queue", "delete_failure", "change_worker"),
)
#: A schedule is not made: it names a function to be run, and whoever may name one may do anything.
ADMINISTRATORS = (
    OPERATORS
    | Q(content_type__app_label="queues")
    | Q(content_type__app_label="queuesite", content_type__model="token")
    | Q(content_type__app_label="auth", content_type__model__in=("user", "group"))
    | Q(content_type__app_label="django_q", codename__startswith="view_")
    | Q(content_type__app_label="django_q", codename="change_schedule")
    | Q(codename__in=("view_accessattempt", "delete_accessattempt", "view_logentry"))
)


def make(apps: Any, schema_editor: Any) -> None:
    alias = schema_editor.connection.alias
    for label in _APPS:
        # Django makes permissions after all migrations, which is too late for groups that have some.
        create_permissions(installed.get_app_config(label), verbosity=0, using=alias)
    groups = apps.get_model("auth", "Group").objects.using(alias)
    permissions = apps.get_model("auth", "Permission").objects.using(alias)
    for name, allowed in (("viewers", VIEWERS), ("operators", OPERATORS), ("administrators", ADMINISTRATORS)):
        group, made = groups.get_or_create(name=name)
        if made:  # one that somebody made before stays theirs
            group.permissions.set(permissions.filter(allowed))


class Migration(migrations.Migration):

    dependencies = [
        ("queuesite", "0001_initial"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("django_q", "0019_alter_task_options_alter_ormq_key_alter_ormq_lock_and_more"),
        ("axes", "0010_accessattemptexpiration"),
    ]

    operations = [migrations.RunPython(make, migrations.RunPython.noop)]

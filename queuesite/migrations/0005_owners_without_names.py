"""What is owned by name alone is no more."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("queuesite", "0004_owners_of_old_rows"),
    ]

    operations = [
        migrations.RemoveIndex(model_name="backgroundtask", name="task_owner_created"),
        migrations.RemoveConstraint(model_name="idempotentrequest", name="idempotent_owner_key"),
        migrations.RemoveField(model_name="backgroundtask", name="owner"),
        migrations.RemoveField(model_name="idempotentrequest", name="owner"),
        migrations.RenameField(model_name="backgroundtask", old_name="user", new_name="owner"),
        migrations.RenameField(model_name="idempotentrequest", old_name="user", new_name="owner"),
        migrations.AlterField(
            model_name="backgroundtask",
            name="owner",
            field=models.ForeignKey(
                help_text="who asked for it; empty: a user who is gone",
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="+",
                to=settings.AUTH_USER_MODEL,
            ),
        ),
        migrations.AlterField(
            model_name="idempotentrequest",
            name="owner",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE, related_name="+", to=settings.AUTH_USER_MODEL
            ),
        ),
        migrations.AddIndex(
            model_name="backgroundtask",
            index=models.Index(fields=["owner", "created_at"], name="task_owner_created"),
        ),
        migrations.AddConstraint(
            model_name="idempotentrequest",
            constraint=models.UniqueConstraint(fields=("owner", "key"), name="idempotent_owner_key"),
        ),
    ]

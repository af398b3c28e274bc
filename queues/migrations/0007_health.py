# The collection is made by `queues.indexes`; the migration keeps Django's picture of the model.
from django.db import migrations, models


def moment(name, column, help_text):
    return migrations.AddField(
        model_name="queue",
        name=name,
        field=models.DateTimeField(db_column=column, default=None, editable=False, help_text=help_text, null=True),
    )


class Migration(migrations.Migration):
    dependencies = [("queues", "0006_counted_failures")]

    operations = [
        moment("crashing_since", "crashingSince", "when the first of the runs in a row failed"),
        moment("tripped_since", "trippedSince", "when the first of the runs in a row tripped"),
        migrations.AddField(
            model_name="queue",
            name="attempts",
            field=models.JSONField(
                db_column="recentAttempts",
                default=dict,
                editable=False,
                help_text="attempts of the last minutes (see queues.health.attempts)",
            ),
        ),
        moment("last_attempt_at", "lastAttemptAt", "when an attempt last ended, well or not"),
        moment(
            "failing_since",
            "failingSince",
            "since when the share of failed attempts has been too large, as of the last attempt",
        ),
        moment(
            "dead_letters_grown_at",
            "deadLettersGrownAt",
            "when a count last found more dead letters than the one before",
        ),
        moment("visible_since", "visibleSince", "since when each observation has found visible messages"),
    ]

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("queues", "0003_depthsample"),
    ]

    operations = [
        migrations.AddField(
            model_name="queue",
            name="last_receive_seen_at",
            field=models.DateTimeField(
                db_column="lastReceiveSeenAt",
                default=None,
                editable=False,
                help_text="when a look last saw a message that has one receive left, or none",
                null=True,
            ),
        ),
        migrations.AlterModelOptions(
            name="queue",
            options={
                "managed": False,
                "ordering": ("name",),
                "permissions": (
                    ("send_message", "Can send messages"),
                    ("peek_message", "Can look at messages, which costs each of them a receive"),
                    ("change_handler", "Can choose a queue's handler and its options: what becomes of its messages"),
                    ("purge_queue", "Can purge queues"),
                    ("redrive_queue", "Can redrive dead letters"),
                ),
            },
        ),
    ]

# The collections are made by `jobs.indexes`; the migration keeps Django's picture of the models.
from __future__ import annotations

import django_mongodb_backend.fields
from django.db import migrations, models


def work_done(name: str, collection: str) -> migrations.CreateModel:
    """A model with the fields of `jobs.throughput_models.WorkDone` as they are now."""
    return migrations.CreateModel(
        name=name,
        fields=[
            ('id', models.CharField(db_column='_id', max_length=50, primary_key=True, serialize=False)),
            ('queue_id', django_mongodb_backend.fields.ObjectIdField(db_column='queueId', default=None, null=True)),
            ('queue_name', models.CharField(db_column='queueName', default='', max_length=80, verbose_name='queue')),
            ('minute', models.DateTimeField(default=None, null=True)),
            ('processed', models.PositiveIntegerField(default=0)),
            ('failed', models.PositiveIntegerField(default=0, verbose_name='failed attempts')),
            ('rejected', models.PositiveIntegerField(default=0)),
            ('timed_out', models.PositiveIntegerField(db_column='timedOut', default=0, verbose_name='timed out')),
            ('retried', models.PositiveIntegerField(default=0, verbose_name='retries that handlers asked for')),
            ('requests', models.PositiveIntegerField(default=0, verbose_name='requests to SQS')),
            ('durations', models.JSONField(default=dict)),
            ('duration_sum', models.FloatField(db_column='durationSum', default=0.0, verbose_name='seconds in handlers')),
            ('purposes', models.JSONField(default=dict)),
            ('waits', models.JSONField(default=dict)),
            ('wait_sum', models.FloatField(db_column='waitSum', default=0.0, verbose_name='seconds of waiting')),
            ('expires_at', models.DateTimeField(db_column='expiresAt', default=None, null=True)),
        ],
        options={
            "db_table": collection,
            "ordering": ("-minute",),
            "abstract": False,
            "managed": False,
            "default_permissions": (),
        },
    )


class Migration(migrations.Migration):
    dependencies = [("jobs", "0014_worker_capacity")]

    operations = [
        work_done("ThroughputHourOfAll", "throughputHoursOfAll"),
        work_done("ThroughputOfAll", "throughputOfAll"),
    ]

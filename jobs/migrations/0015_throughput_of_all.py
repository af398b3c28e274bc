import django_mongodb_backend.fields
from django.db import migrations, models

class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0014_worker_capacity'),
    ]

    operations = [
        migrations.CreateModel(
            name='ThroughputHourOfAll',
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
                'db_table': 'throughputHoursOfAll',
                'ordering': ('-minute',),
                'abstract': False,
                'managed': False,
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='ThroughputOfAll',
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
                'db_table': 'throughputOfAll',
                'ordering': ('-minute',),
                'abstract': False,
                'managed': False,
                'default_permissions': (),
            },
        ),
    ]

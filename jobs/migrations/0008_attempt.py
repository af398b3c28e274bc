import django_mongodb_backend.fields
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0007_listening'),
    ]

    operations = [
        migrations.CreateModel(
            name='Attempt',
            fields=[
                ('id', django_mongodb_backend.fields.ObjectIdAutoField(primary_key=True, serialize=False)),
                ('message_id', models.CharField(db_column='messageId', max_length=100, verbose_name='message')),
                ('queue_url', models.CharField(db_column='queueUrl', max_length=500, verbose_name='queue URL')),
                ('queue_id', django_mongodb_backend.fields.ObjectIdField(db_column='queueId')),
                ('queue_name', models.CharField(db_column='queueName', max_length=80, verbose_name='queue')),
                ('job_id', django_mongodb_backend.fields.ObjectIdField(db_column='jobId')),
                ('worker', models.CharField(max_length=200)),
                ('handler', models.CharField(max_length=100)),
                ('handler_version', models.CharField(db_column='handlerVersion', default=None, max_length=100, null=True)),
                ('receive_count', models.PositiveIntegerField(db_column='receiveCount')),
                ('started_at', models.DateTimeField(db_column='startedAt')),
                ('waited', models.FloatField(default=None, null=True, verbose_name='seconds from the sending to the start')),
                ('seconds', models.FloatField(verbose_name='seconds in the handler')),
                ('outcome', models.CharField(choices=[('done', 'done'), ('failed', 'failed'), ('retried', 'asked for a retry'), ('rejected', 'rejected'), ('timed-out', 'timed out'), ('unavailable', 'a dependency was down')], max_length=20)),
                ('error_type', models.CharField(db_column='errorType', default='', max_length=200, verbose_name='exception')),
                ('error', models.TextField(default='')),
                ('fingerprint', models.CharField(default=None, max_length=32, null=True, verbose_name='kind of failure')),
                ('dead_letter', models.BooleanField(db_column='deadLetter', default=False, verbose_name='became a dead letter')),
                ('trace_id', models.CharField(db_column='traceId', default=None, max_length=32, null=True)),
                ('log', models.TextField(default='', verbose_name='what the handler logged last')),
            ],
            options={
                'db_table': 'attempts',
                'ordering': ('-started_at',),
                'managed': False,
                'default_permissions': ('view',),
            },
        ),
    ]


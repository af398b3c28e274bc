import django_mongodb_backend.fields
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0006_handler_versions'),
    ]

    operations = [
        migrations.CreateModel(
            name='Listening',
            fields=[
                ('id', django_mongodb_backend.fields.ObjectIdAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('queue_url', models.CharField(db_column='queueUrl', max_length=500, verbose_name='queue URL')),
                ('queue_id', django_mongodb_backend.fields.ObjectIdField(db_column='queueId')),
                ('worker', models.CharField(max_length=200)),
                ('term', models.PositiveIntegerField()),
                ('created_at', models.DateTimeField(db_column='createdAt')),
            ],
            options={
                'db_table': 'listening',
                'managed': False,
                'default_permissions': (),
            },
        ),
    ]

import django_mongodb_backend.fields
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0012_attempt_crashed'),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='alert',
            options={
                'managed': False,
                'default_permissions': ('view',),
                'ordering': ('first_seen_at',),
                'permissions': (
                    ('silence_alert', 'Can silence notices, and end silences'),
                    ('test_alert', 'Can send a test notice'),
                ),
                'verbose_name_plural': 'notices',
            },
        ),
        migrations.CreateModel(
            name='AlertCheck',
            fields=[
                ('id', models.CharField(db_column='_id', max_length=20, primary_key=True, serialize=False)),
                ('at', models.DateTimeField()),
            ],
            options={
                'db_table': 'alertChecks',
                'managed': False,
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='Notice',
            fields=[
                ('id', django_mongodb_backend.fields.ObjectIdAutoField(primary_key=True, serialize=False)),
                ('at', models.DateTimeField()),
                ('kind', models.CharField(choices=[('begun', 'problems'), ('over', 'problems that are over'), ('test', 'a test')], max_length=10)),
                ('actor', models.CharField(default='', max_length=200, verbose_name='by')),
                ('title', models.TextField()),
                ('body', models.TextField()),
                ('answers', models.JSONField(default=list)),
            ],
            options={
                'db_table': 'notices',
                'ordering': ('-at',),
                'managed': False,
                'default_permissions': (),
            },
        ),
    ]

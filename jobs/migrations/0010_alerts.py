from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0009_master_slots_wanted'),
    ]

    operations = [
        migrations.CreateModel(
            name='Alert',
            fields=[
                ('id', models.CharField(db_column='_id', max_length=150, primary_key=True, serialize=False)),
                ('subject', models.CharField(default='', max_length=80, verbose_name='queue')),
                ('problem', models.CharField(default='', max_length=50)),
                ('sentence', models.TextField(default='')),
                ('state', models.CharField(choices=[('pending', 'Pending'), ('sending', 'Sending'), ('sent', 'Sent'), ('ending', 'Ending')], default='pending', max_length=10)),
                ('first_seen_at', models.DateTimeField(db_column='firstSeenAt')),
                ('last_seen_at', models.DateTimeField(db_column='lastSeenAt')),
                ('claimed_at', models.DateTimeField(db_column='claimedAt', default=None, null=True)),
                ('failures', models.PositiveIntegerField(default=0)),
                ('error', models.TextField(default='')),
                ('try_again_at', models.DateTimeField(db_column='tryAgainAt', default=None, null=True)),
            ],
            options={
                'db_table': 'alerts',
                'ordering': ('first_seen_at',),
                'managed': False,
                'default_permissions': (),
            },
        ),
        migrations.CreateModel(
            name='Silence',
            fields=[
                ('id', models.CharField(db_column='_id', max_length=50, primary_key=True, serialize=False)),
                ('subject', models.CharField(default='', max_length=80, verbose_name='queue')),
                ('until', models.DateTimeField()),
            ],
            options={
                'db_table': 'silences',
                'managed': False,
                'default_permissions': (),
            },
        ),
    ]

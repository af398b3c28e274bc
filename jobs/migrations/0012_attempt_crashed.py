from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0011_job_retried_count'),
    ]

    operations = [
        migrations.AlterField(
            model_name='attempt',
            name='outcome',
            field=models.CharField(choices=[('done', 'done'), ('failed', 'failed'), ('retried', 'asked for a retry'), ('rejected', 'rejected'), ('timed-out', 'timed out'), ('unavailable', 'a dependency was down'), ('crashed', 'its consumer died')], max_length=20),
        ),
    ]

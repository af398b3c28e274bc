from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('jobs', '0008_attempt'),
    ]

    operations = [
        migrations.AddField(
            model_name='master',
            name='slots_wanted',
            field=models.JSONField(db_column='slotsWanted', default=None, null=True),
        ),
    ]

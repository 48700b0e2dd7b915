from django.db import migrations, models
def shout(apps, editor):
    for note in apps.get_model("shop", "Note").objects.filter(score=0):
        note.score = len(note.body); note.save()
class Migration(migrations.Migration):
    dependencies = [("shop", "0001_initial")]
    operations = [
        migrations.AlterField("Team", "name", models.CharField(max_length=200)),
        migrations.AddField("Team", "motto", models.CharField(max_length=50, default="none")),
        migrations.AddField("Note", "score", models.IntegerField(default=0)),
        migrations.RenameField("Note", "line", "body"),
        migrations.RunPython(shout),
    ]

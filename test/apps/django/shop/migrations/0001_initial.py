from django.db import migrations, models
import django.db.models.deletion as d
class Migration(migrations.Migration):
    initial = True
    dependencies = []
    operations = [
        migrations.CreateModel("Tag", [("id", models.AutoField(primary_key=True)), ("label", models.CharField(max_length=30, unique=True))]),
        migrations.CreateModel("Team", [("id", models.AutoField(primary_key=True)), ("name", models.CharField(max_length=50))]),
        migrations.CreateModel("Note", [("id", models.AutoField(primary_key=True)), ("line", models.TextField()), ("team", models.ForeignKey("shop.Team", on_delete=d.CASCADE)), ("tags", models.ManyToManyField("shop.Tag"))]),
    ]

from django.db import models
class Tag(models.Model):
    label = models.CharField(max_length=30, unique=True)
class Team(models.Model):
    name = models.CharField(max_length=200)
    motto = models.CharField(max_length=50, default="none")
class Note(models.Model):
    team = models.ForeignKey(Team, on_delete=models.CASCADE)
    body = models.TextField()
    score = models.IntegerField(default=0)
    tags = models.ManyToManyField(Tag)

"""A scouting application with Flask-SQLAlchemy and Flask-Migrate; RELEASE says which release of it runs."""
import os

from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy

app = Flask(__name__)
app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite:///" + os.environ["APP_DB"]
app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"connect_args": {"timeout": 20}}
db = SQLAlchemy(app)
Migrate(app, db, render_as_batch=True)
NEW = os.environ.get("RELEASE") == "2"


class Event(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    code = db.Column(db.String(20), unique=True, nullable=False)


class Team(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    name = db.Column(db.String(60), nullable=False)
    if NEW:
        region = db.Column(db.String(20), nullable=False, server_default="unknown")


class Report(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    team_id = db.Column(db.Integer, db.ForeignKey("team.id"), nullable=False)
    event_id = db.Column(db.Integer, db.ForeignKey("event.id"), nullable=False)
    points = db.Column(db.Integer)
    if NEW:
        text = db.Column(db.Text, nullable=False)
        seen_by = db.relationship("Reader", backref="report")
    else:
        text = db.Column(db.String(80))
        legacy = db.Column(db.String(10))
    team = db.relationship(Team)
    event = db.relationship(Event)


if NEW:

    class Reader(db.Model):
        id = db.Column(db.Integer, primary_key=True)
        report_id = db.Column(db.Integer, db.ForeignKey("report.id", ondelete="CASCADE"), nullable=False)
        name = db.Column(db.String(40), nullable=False)

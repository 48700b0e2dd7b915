"""One server's users, through the ORM: every note with a team of its own and a tag. Prints what was committed.

The model is that of the migrated schema; before the migration the same rows are written in plain SQL, as the old release would.
"""
import os
import sqlite3
import sys

who, release = sys.argv[1:3]
NOTES = 20
if release == "old":
    db = sqlite3.connect(os.environ["APP_DB"], timeout=20)
    db.execute("PRAGMA foreign_keys=ON")
    for i in range(NOTES):
        team = db.execute("INSERT INTO shop_team(name) VALUES(?)", (f"{who} team {i}",)).lastrowid
        note = db.execute("INSERT INTO shop_note(team_id, line) VALUES(?, ?)", (team, f"{who} note {i}")).lastrowid
        db.execute("INSERT INTO shop_note_tags(note_id, tag_id) VALUES(?, 1)", (note,))
        db.commit()
        print(f"{who} note {i}")
else:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
    import django

    django.setup()
    from django.db import transaction
    from shop.models import Note, Tag, Team

    for i in range(NOTES):
        with transaction.atomic():
            note = Note.objects.create(team=Team.objects.create(name=f"{who} team {i}", motto="m"), body=f"{who} note {i}", score=1)
            note.tags.add(Tag.objects.get(label="one"))
        print(f"{who} note {i}")

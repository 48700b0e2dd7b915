"""One server's users, through the ORM: every report with a team of its own. Prints a report when it has been committed.

Arguments: whose reports, how many. An edit of each report follows it, in a transaction of its own.
"""
import sys

from app import NEW, Event, Report, Team, app, db

who, count = sys.argv[1], int(sys.argv[2])
with app.app_context():
    event = Event.query.filter_by(code="2026arc").one()
    for i in range(count):
        report = Report(team=Team(name=f"{who} team {i}"), event=event, text=f"{who} report {i}")
        if NEW:
            from app import Reader

            report.seen_by.append(Reader(name=f"{who} reader {i}"))
        db.session.add(report)
        db.session.commit()
        # By its text: its number may be another one by now, when another server gave out the same.
        Report.query.filter_by(text=f"{who} report {i}").update({"points": i})
        db.session.commit()
        print(f"{who} report {i}", flush=True)

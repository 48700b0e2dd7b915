"""An application that writes SQLite and has never heard of sync.

Reads one JSON request per line, answers one JSON line after the commit. Values are JSON, except
{"int": "123"}, {"blob": "hex"} and {"real": "inf"} for what JSON cannot say. Its argument: its busy timeout, milliseconds.
"""
import json
import sqlite3
import sys


def decode(value):
    if isinstance(value, dict):
        if "int" in value:
            return int(value["int"])
        if "blob" in value:
            return bytes.fromhex(value["blob"])
        return float(value["real"])
    return value


connections = {}


def connection(path, pragmas):
    found = connections.get((path, pragmas))
    if found is None:
        # autocommit: BEGIN and COMMIT are ours
        found = sqlite3.connect(path, timeout=float(sys.argv[1]) / 1000, isolation_level=None)
        for pragma in pragmas:
            found.execute("PRAGMA " + pragma)
        connections[(path, pragmas)] = found
    return found


for line in sys.stdin:
    request = json.loads(line)
    try:
        database = connection(request["path"], tuple(request["pragmas"]))
        cursor = database.cursor()
        cursor.execute("BEGIN IMMEDIATE")
        try:
            ids = []
            for sql, values in request["statements"]:
                cursor.execute(sql, [decode(value) for value in values])
                ids.append(cursor.lastrowid)
            database.commit()
        except BaseException:
            if database.in_transaction:
                database.rollback()
            raise
        answer = {"ok": True, "ids": ids}
    except Exception as error:
        answer = {"ok": False, "error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), flush=True)

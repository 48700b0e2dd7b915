"""An application that saves files by writing a temporary one and renaming it, in a tight loop. It knows nothing of sync.

usage: saver.py LEDGER SECONDS MANNER PATH...

MANNER "loop": one after the other without a pause, resting now and then. "bursts": each by itself, two or three times and then
not for a while, so that versions of others come meanwhile, and are about to come when it saves again. "missing": whenever there
is no file under the name, at this very moment.

Appends to LEDGER, before each rename, the SHA-256 of what it is about to save ("saved HASH PATH"); and afterwards, where it was
its own rename that destroyed the version it had saved before ("own HASH"): it holds that file open, and sees its last name go at
this very moment. Whatever is "saved" and not "own" was taken from its name by somebody else, or is still there: then it says
how many names that had before and after its rename ("left HASH BEFORE AFTER"), for whoever looks for it.
It goes on after that many seconds for as long as there is a file LEDGER.go-on.
A file whose first line is not the SHA-256 of the rest is written down as "torn".
"""
import hashlib
import os
import random
import sys
import time

ledger_path, seconds, manner, *paths = sys.argv[1:]
ledger = os.open(ledger_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
held = {}


def say(*words):
    os.write(ledger, (" ".join(words) + "\n").encode())


def check(path):
    try:
        with open(path, "rb") as file:
            first, _, rest = file.read().partition(b"\n")
    except FileNotFoundError:
        return
    if hashlib.sha256(rest).hexdigest().encode() != first:
        say("torn", path)


def save(path, turn):
    rest = f"{ledger_path} {path} {turn} ".encode() + os.urandom(24).hex().encode() * (1 + turn % 40)
    content = hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest
    name = hashlib.sha256(content).hexdigest()
    temporary = f"{path}.tmp"
    fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.write(fd, content)
    say("saved", name, path)
    last = held.get(path)
    before = 0 if last is None else os.fstat(last[0]).st_nlink
    os.replace(temporary, path)
    if last is not None:
        after = os.fstat(last[0]).st_nlink
        if before > 0 and after == 0:
            say("own", last[1])
        else:
            say("left", last[1], str(before), str(after))
        os.close(last[0])
    held[path] = (fd, name)


def loop(turn):
    for path in paths:
        check(path)
        save(path, turn)
    # Now and then it rests: as long as an application that waits for the next request, or not at all.
    if turn % 25 == 0:
        time.sleep(0.3)


def bursts(turn):
    for path in paths:
        if due.setdefault(path, time.monotonic() + random.random()) > time.monotonic():
            continue
        check(path)
        for _ in range(random.randint(1, 3)):
            save(path, random.randrange(1_000_000))
        due[path] = time.monotonic() + random.uniform(0.3, 1.2)
    time.sleep(0.003)


def missing(turn):
    for path in paths:
        if not os.path.lexists(path):
            save(path, turn)
    time.sleep(0.0003)


due = {}

end = time.monotonic() + float(seconds)
turn = 0
while time.monotonic() < end or os.path.exists(f"{ledger_path}.go-on"):
    {"loop": loop, "bursts": bursts, "missing": missing}[manner](turn)
    turn += 1
if manner == "loop":
    for path in paths:
        say("last", held[path][1], path)

"""An application that saves files by writing a temporary one and renaming it, in a tight loop. It knows nothing of sync.

usage: saver.py LEDGER SECONDS PATH...

Appends to LEDGER, before each rename, the SHA-256 of what it is about to save ("saved HASH PATH"); and afterwards, where it was
its own rename that destroyed the version it had saved before ("own HASH"): it holds that file open, and sees its last name go at
this very moment. Whatever is "saved" and not "own" was taken from its name by somebody else, or is still there.
A file whose first line is not the SHA-256 of the rest is written down as "torn".
"""
import hashlib
import os
import sys
import time

ledger_path, seconds, *paths = sys.argv[1:]
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
    named_before = last is not None and os.fstat(last[0]).st_nlink > 0
    os.replace(temporary, path)
    if last is not None:
        if named_before and os.fstat(last[0]).st_nlink == 0:
            say("own", last[1])
        os.close(last[0])
    held[path] = (fd, name)


end = time.monotonic() + float(seconds)
turn = 0
while time.monotonic() < end:
    for path in paths:
        check(path)
        save(path, turn)
    turn += 1
    # Now and then it rests: as long as an application that waits for the next request, or not at all.
    if turn % 25 == 0:
        time.sleep(0.3)
for path in paths:
    say("last", held[path][1], path)

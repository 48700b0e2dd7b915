"""Swaps a folder for a link to another one and back, again and again, as fast as it can.

usage: swapper.py FOLDER ASIDE TARGET SECONDS; prints how often it did. On a busy machine it goes on until it did so 100 times, and
for as long as there is a file ASIDE.go-on.
"""
import os
import sys
import time

folder, aside, target, seconds = sys.argv[1:]
end = time.monotonic() + float(seconds)
swaps = 0
while time.monotonic() < end or swaps < 100 or os.path.exists(f"{aside}.go-on"):
    try:
        os.rename(folder, aside)
    except FileNotFoundError:
        # Taken away this moment; it comes again.
        os.makedirs(folder, exist_ok=True)
        continue
    try:
        os.symlink(target, folder)
    except FileExistsError:
        # A folder was made in its place: both are one.
        for name in os.listdir(aside):
            os.replace(os.path.join(aside, name), os.path.join(folder, name))
        os.rmdir(aside)
        continue
    # Longer than one step, shorter than a look.
    time.sleep(0.002)
    os.unlink(folder)
    try:
        os.rename(aside, folder)
    except OSError:
        for name in os.listdir(aside):
            os.replace(os.path.join(aside, name), os.path.join(folder, name))
        os.rmdir(aside)
    swaps += 1
    time.sleep(0.004)
print(swaps)

import type { Fault } from "./fault.ts";

const tests = (name: string) => `packages/files/test/${name}.test.ts`;

/** Rules of file roots, broken. */
export const FILE_FAULTS: Fault[] = [
  {
    name: "a conflict is settled without a version of its own",
    edits: [["const version = next(join(ours.version, theirs.version), planner);", "const version = join(ours.version, theirs.version);"]],
    caughtBy: tests("plan"),
  },
  {
    name: "what is displaced is not looked at",
    edits: [["if (displaced?.hash !== expected) {", "if (displaced === null) {"]],
    caughtBy: tests("care"),
  },
  {
    name: "a file is renamed over whatever a program wrote a moment ago",
    edits: [["open.staging.linkTo(journal.staged, folder, name);", "open.staging.moveTo(journal.staged, folder, name);"]],
    caughtBy: tests("care"),
  },
  {
    name: "what a crash left in the store is not put back",
    edits: [["if (moved && there === null) {", "if (moved && there !== null) {"]],
    caughtBy: tests("care"),
  },
  {
    name: "a file that is placed has the size that somebody said",
    edits: [["const entry = { ...asked.entry, size };", "const entry = size < 0 ? { ...asked.entry, size } : asked.entry;"]],
    caughtBy: tests("care"),
  },
  {
    name: "a file that is known under a wrong size stays so",
    edits: [["const isWrong = row?.size !== Number(stats.size);", "const isWrong = row === null && Number(stats.size) > 0;"]],
    caughtBy: tests("care"),
  },
  {
    name: "what a smaller part took away is forgotten as what was replaced is",
    edits: [['(why !== "left" && row.seq <= manifest.acknowledged)', '(why !== "late" && row.seq <= manifest.acknowledged)']],
    caughtBy: tests("part"),
  },
  {
    name: "what was written down after the last note is deleted where it is missing after a crash",
    edits: [["missing().filter(({ seq }) => seq > after)", "missing().filter(({ seq }) => seq < after && seq > after)"]],
    caughtBy: tests("put-back"),
  },
  {
    name: "what a smaller part took away goes once something else has come under its name",
    edits: [["if (row && !isOwn && (row.source", "if (row && (row.source"]],
    caughtBy: tests("part"),
  },
  {
    name: "a conflict ends with a file that is forgotten for a while",
    edits: [["losers: joinLosers(known.losers, entry.losers) } : entry;", "losers: entry.losers } : entry;"]],
    caughtBy: tests("retention"),
  },
  {
    name: "a machine that was put back while it ran goes on under its names when its clock is set",
    edits: [["if (context.diskClock.wasSetAhead() && this.unlock)", "if (context.diskClock.wasSetAhead() && !this.unlock)"]],
    caughtBy: tests("put-back"),
  },
  {
    name: "who has read further than a list goes tells nothing by it",
    edits: [["if (manifest.isExceededBy(cursors))", "if (manifest.isExceededBy([]))"]],
    caughtBy: tests("put-back"),
  },
  {
    name: "who has read further than the list of an earlier run went tells nothing by it",
    edits: [["cursors.some(({ index, seq }) => seq > (ends", "cursors.some(({ index, seq }) => index === this.indexId && seq > (ends"]],
    caughtBy: tests("put-back"),
  },
  {
    name: "what is in doubt after a crash is not sent back by who has it since",
    edits: [
      [
        "state: State.forgotten });\n      manifest.reindex();\n      manifest.forgetReceived();\n    });\n  }\n\n  private bury",
        "state: State.forgotten });\n      manifest.forgetReceived();\n    });\n  }\n\n  private bury",
      ],
    ],
    caughtBy: tests("put-back"),
  },
  {
    name: "what is written after sleep is taken for as old as a process thinks that it is",
    edits: [["stampOf(row, modifiedUs, this.context.diskClock.nowUs())", "stampOf(row, modifiedUs, nowUs)"]],
    caughtBy: tests("care"),
  },
  {
    name: "whoever makes up that a list was put back has it begin anew each time",
    edits: [["if (nowUs - this.anewUs < ANEW_EVERY_US) return;", "if (nowUs < this.anewUs) return;"]],
    caughtBy: tests("put-back"),
  },
  {
    name: "what was read under a name that was given up meanwhile counts as read",
    edits: [["if (heardAs !== this.indexId) return;", "if (heardAs === '') return;"]],
    caughtBy: tests("put-back"),
  },
  {
    name: "a page of a list holds so many entries, however large",
    edits: [["if (rows.length > 0 && bytes > ENTRIES_BYTES)", "if (rows.length > 0 && bytes > Infinity)"]],
    caughtBy: "packages/session/test/push-files.test.ts",
  },
  {
    name: "so many deletions are offered together, however large",
    edits: [["(batch.length > 0 && bytes + more > ENTRIES_BYTES)", "(batch.length > 0 && bytes + more > Infinity)"]],
    caughtBy: "packages/session/test/push-files.test.ts",
  },
  {
    name: "all of the time between two looks of the retention counts",
    edits: [["Math.max(0, nowUs - before - mostUs)", "Math.max(0, (nowUs - before - mostUs) * 0)"]],
    caughtBy: tests("retention"),
  },
  {
    name: "what is stored is as old as the clock says",
    edits: [['Math.max(one.storedUs, Number(this.get("aged_us") ?? 0))', 'Math.max(one.storedUs, Number(this.get("aged_us") ?? 0) * 0)']],
    caughtBy: tests("retention"),
  },
  {
    name: "any number of files may go missing at once",
    edits: [["if (!released && lost.length > Math.max(BRAKE_FILES, files * BRAKE_SHARE)) {", "if (!released && lost.length > files) {"]],
    caughtBy: tests("care"),
  },
  {
    name: "rotten bytes are an edit",
    edits: [
      [
        '} else if (row?.kind === "file" && this.isSuspect(row, print, Number(stats.size))) {',
        '} else if (row?.kind === "folder" && this.isSuspect(row, print, Number(stats.size))) {',
      ],
    ],
    caughtBy: tests("care"),
  },
  {
    name: "a path of a peer is not checked",
    edits: [["      checkPath(entry.path);\n      checkEntry(entry);", "      checkEntry(entry);"]],
    caughtBy: tests("hostile"),
  },
  {
    name: "received bytes are believed",
    edits: [["if (found !== hash || Number(", 'if (hash === "" || Number(']],
    caughtBy: tests("hostile"),
  },
  {
    name: "what is found to be a database is synced as a file",
    edits: [["      if (isDatabase(fd)) {", "      if (fd < 0 && isDatabase(fd)) {"]],
    caughtBy: tests("care"),
  },
  {
    name: "the other side of an undecided conflict is let go of",
    edits: [["undecided.has(object.hash) || ", ""]],
    caughtBy: tests("retention"),
  },
  {
    name: "an old version is let go of though nobody has what replaced it",
    edits: [["row.seq <= manifest.acknowledged", "row.seq > 0"]],
    caughtBy: tests("retention"),
  },
  {
    name: "an old version is let go of without a look at its bytes",
    edits: [["if (found.hash !== object.hash) {", 'if (found.hash === "") {']],
    caughtBy: tests("retention"),
  },
  {
    name: "small files are believed",
    edits: [["          if (found !== hash) {\n", '          if (found === "") {\n']],
    caughtBy: tests("hostile"),
  },
  {
    name: "what the disk refused is gone on with",
    edits: [["    if (failure !== null) ftruncateSync(fd, 0);\n", ""]],
    caughtBy: tests("failing-disk"),
  },
  {
    name: "what the disk refused of a file on its way is left for the last fsync to meet",
    edits: [["(error: Error) => void (incoming.failure = error)", "() => {}"]],
    caughtBy: tests("failing-disk"),
  },
  {
    name: "a file is gone on with while the disk may still refuse it",
    edits: [["    await this.closing.get(hash);\n    const known", "    const known"]],
    caughtBy: tests("failing-disk"),
  },
  {
    name: "a large file goes to the disk when it is whole",
    edits: [["if (incoming?.syncing && incoming.unsynced >= SYNC_EVERY_BYTES) await incoming.syncing;", "void incoming;"]],
    caughtBy: tests("failing-disk"),
  },
  {
    name: "work goes on after a step that failed half-way",
    edits: [["undone.\n          this.isReady = false;", "undone."]],
    caughtBy: tests("care"),
  },
  {
    name: "what a program renames over a placed file is taken for the placed one",
    edits: [["if (stats && stats.ino === staged?.ino && stats.size === staged.size && stats.mtimeNs === staged.mtimeNs)", "if (stats)"]],
    caughtBy: tests("care"),
  },
  {
    name: "what is found under new rules is left for another look",
    edits: [["if (!others) return { report, isSettled: true };", "return { report, isSettled: !others };"]],
    caughtBy: tests("files"),
  },
  {
    name: "a file never gets the name of a folder that becomes empty",
    edits: [["    if (gone.length > 0) await this.takeAwaited(intake);\n", ""]],
    caughtBy: tests("files"),
  },
  {
    name: "a file whose name a folder took is told to nobody",
    edits: [
      ['if (row?.kind !== "file") return { ...folder, losers: row?.losers ?? [] };', "return { ...folder, losers: row?.losers ?? [] };"],
    ],
    caughtBy: tests("files"),
  },
  {
    name: "a folder that a crash has cut off is not made",
    edits: [["there?.isDirectory() === true && displaced?.hash === step.expected", "there === null && displaced?.hash === step.expected"]],
    caughtBy: tests("kills"),
  },
  {
    name: "two nodes run on one root",
    edits: [["this.unlock = withRoot(context, () => lockRoot(context.disk.path));", "this.unlock = () => {};"]],
    caughtBy: tests("root-lock"),
  },
  {
    name: "a root that was put back goes on with its former list",
    edits: [["      manifest.beginRun();", ""]],
    caughtBy: tests("put-back"),
  },
  {
    name: "whoever has read further in a list than it goes where it was put back goes on from there",
    edits: [["seq <= (ends.get(index) ?? -1)", "ends.has(index)"]],
    caughtBy: tests("put-back"),
  },
  {
    name: "a folder that was put back alone is taken for the one that was looked at last",
    edits: [['manifest.set("place", "another")', 'manifest.get("place")']],
    caughtBy: tests("put-back"),
  },
  {
    name: "a root that was put back goes on as its former author",
    edits: [['this.renew();\n      this.set("acknowledged"', 'this.reindex();\n      this.set("acknowledged"']],
    caughtBy: tests("put-back"),
  },
  {
    name: "a root in a folder is synced by the folder's root as well",
    edits: [['if (path !== "" && listing.some(({ name }) => name === STORE_FOLDER)) {', 'if (path === "" && listing.length === 0) {']],
    caughtBy: tests("root-lock"),
  },
  {
    name: "a file is told of before its bytes are on the disk",
    edits: [
      [
        "      await Promise.all(opened.filter(({ before }) => this.context.diskClock.mayBeUnwritten(before)).map(({ fd }) => sync(fd)));\n",
        "",
      ],
      ["    await Promise.all([...fresh].map(({ fd }) => sync(fd)));\n", ""],
    ],
    caughtBy: tests("model"),
  },
  {
    name: "a mapped file is read before it is on the disk",
    edits: [
      [
        "      await Promise.all(opened.filter(({ before }) => this.context.diskClock.mayBeUnwritten(before)).map(({ fd }) => sync(fd)));\n",
        "",
      ],
    ],
    caughtBy: tests("care"),
  },
  {
    name: "a file is told of before its name is on the disk",
    edits: [["inFolderOf(root, first.candidate.path, (folder) => folder.sync());", "inFolderOf(root, first.candidate.path, () => {});"]],
    caughtBy: tests("model"),
  },
  {
    name: "a received file is told of before its name is on the disk",
    edits: [["      for (const folder of touched) await this.syncNamed(open, folder);\n", ""]],
    caughtBy: tests("model"),
  },
  {
    name: "received bytes are whole before they are on the disk",
    edits: [["      await sync(incoming.fd);\n      // Of two", "      // Of two"]],
    caughtBy: tests("model"),
  },
  {
    name: "a link on the way to a file is followed",
    edits: [
      [
        "const fd = openSync(this.at(name), O_RDONLY | O_DIRECTORY | O_NOFOLLOW);",
        "const fd = openSync(this.at(name), O_RDONLY | O_DIRECTORY);",
      ],
    ],
    caughtBy: tests("hostile"),
  },
  {
    name: "a stored version has its bytes in common with another name",
    edits: [["const kept = displaced && (await unshare(open, displaced, newId()));\n    commits", "const kept = displaced;\n    commits"]],
    caughtBy: tests("care"),
  },
  {
    name: "what is no longer left alone is never sent back to where it came from",
    edits: [
      [
        "      if (!hasForgotten) return;\n      manifest.reindex();\n      manifest.forgetReceived();\n",
        "      if (!hasForgotten) return;\n      manifest.forgetReceived();\n",
      ],
    ],
    caughtBy: tests("files"),
  },
  {
    name: "what is not in a copy of a root counts as deleted",
    edits: [["if (isMoved) this.deletions.undo();", "if (isMoved) this.deletions.forget();"]],
    caughtBy: tests("care"),
  },
  {
    name: "a folder counts as empty when something else stands there by now",
    edits: [["if (this.holdsSomething(row) || !this.folders.remove(row)) {", "if (!this.folders.remove(row)) {"]],
    caughtBy: tests("care"),
  },
  {
    name: "a journal comes beside another node's database",
    edits: [
      [
        'if (entry.kind === "file" && withRoot(this.context, ({ root }) => belongsToDatabase(',
        'if (entry.kind === "gone" && withRoot(this.context, ({ root }) => belongsToDatabase(',
      ],
    ],
    caughtBy: tests("care"),
  },
  {
    name: "a journal leaves its database",
    edits: [['?? (belongsToDatabase(root, databases, path) ? "belongs to a database" : null)', "?? null"]],
    caughtBy: tests("care"),
  },
  {
    name: "what lies too deep to travel is offered all the same",
    edits: [["const problem = nameProblem(name) ?? lengthProblem(path);", "const problem = nameProblem(name);"]],
    caughtBy: tests("care"),
  },
  {
    name: "a file is as old as a look at it took",
    edits: [["const racy = isRacy(stats, seenUs);", "const racy = isRacy(stats, seenUs + this.context.diskClock.nowUs() - seenUs);"]],
    caughtBy: tests("care"),
  },
  {
    name: "a ticket for a bulk connection is anybody's",
    edits: [["if (known && speaker.member === known.member) {", "if (known) {"]],
    caughtBy: "services/sync-node/test/bulk-connections.test.ts",
  },
  {
    name: "a ticket for a bulk connection is good again and again",
    edits: [["        this.#awaited.delete(key);\n", ""]],
    caughtBy: "services/sync-node/test/bulk-connections.test.ts",
  },
  {
    name: "what a program saved at the last moment is thrown away instead of put back",
    edits: [
      [
        "if (!this.putBack(open, folder, name, journal) && displaced) {",
        "open.objects.remove(journal.id);\n        if (displaced && displaced.size < 0) {",
      ],
    ],
    caughtBy: tests("racing"),
  },
  {
    name: "what a program saved over while it was put back goes with the store's name",
    edits: [["if (nlink > 0) return true;", "if (nlink >= 0) return true;"]],
    caughtBy: tests("care"),
  },
  {
    name: "what can get no second name stays in the store instead of going back",
    edits: [["if (!NO_SECOND_NAME.includes(code)) throw stuck(name, error);", "if (NO_SECOND_NAME.length > 0) throw error;"]],
    caughtBy: tests("care"),
  },
  {
    name: "work goes on while a file cannot go back under its name",
    edits: [["throw stuck(name, cause);", "throw cause;"]],
    caughtBy: tests("care"),
  },
  {
    name: "what cannot go back as its folder is gone is in the store and nobody knows of it",
    edits: [['"ENOTDIR", "ENOENT"].includes(code)) return false;', '"ENOTDIR"].includes(code)) return false;']],
    caughtBy: tests("care"),
  },
  {
    name: "a link put in the place of a folder at the last moment is followed",
    edits: [["openSync(this.at(name), O_RDONLY | O_DIRECTORY | O_NOFOLLOW)", "openSync(this.at(name), O_RDONLY | O_DIRECTORY)"]],
    caughtBy: tests("racing"),
  },
  {
    name: "bytes of a put are taken for whatever is wanted first",
    edits: [["const hash = wanted[frame.part]?.hash;", "const hash = wanted[0]?.hash;"]],
    caughtBy: "test/e2e/bulk-connection.test.ts",
  },
  {
    name: "a put that was cut counts as sent",
    edits: [["throw this.#failure ?? endedEarly();", "return null;"]],
    caughtBy: "packages/protocol/test/bulk-connection.test.ts",
  },
  {
    name: "a frame may be as large as it says",
    edits: [["if (kind > Kind.end || length > most) throw noFrame();", "if (kind > Kind.end) throw noFrame();"]],
    caughtBy: "packages/protocol/test/bulk-connection.test.ts",
  },
];

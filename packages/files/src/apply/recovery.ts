import { withRoot, type RootContext } from "../context.ts";
import { State, type JournalStep, type StoredObject } from "../manifest/rows.ts";
import { errorCode, type Folder } from "../paths/folder.ts";
import { isRacy, printOf } from "../scan/print.ts";
import { examineReadable, unshare } from "../store/objects.ts";
import type { OpenRoot } from "../store/root-disk.ts";
import { giveBack, inFolder, newId, storedObject, unstore } from "./placement.ts";

/** Finishes or undoes every step that a crash has cut, and forgets copies in staging that were meant for them. */
export async function recover(context: RootContext): Promise<void> {
  const { manifest } = context;
  const steps = manifest.journal();
  if (steps.length === 0) return;
  await withRoot(context, async (open) => {
    for (const step of steps) {
      try {
        await inFolder(open.root, step.path, (folder, name) => recoverStep(context, open, step, folder, name));
      } catch (error) {
        const code = errorCode(error);
        if (code !== "ENOENT" && code !== "ENOTDIR" && code !== "ELOOP") throw error;
        // The folder of the path is gone or another one by now: what was displaced stays in the store.
        await keepDisplaced(context, open, step);
      }
      if (step.staged !== "" && open.staging.look(step.staged)) open.staging.remove(step.staged);
    }
  });
}

async function recoverStep(context: RootContext, open: OpenRoot, step: JournalStep, folder: Folder, name: string): Promise<void> {
  const { manifest } = context;
  const there = folder.look(name);
  const moved = open.objects.look(step.id);
  if (there && moved && there.ino === moved.ino) {
    // Put back, but for the name in the store.
    if (!unstore(open.objects, step.id)) return keepDisplaced(context, open, step);
    return manifest.transaction(() => manifest.finish(step.id));
  }
  const displaced = moved?.isFile() ? await displacedOf(context, open, step) : null;
  const isPlaced =
    step.step === "place" &&
    (step.entry.kind === "folder"
      ? there?.isDirectory() === true && displaced?.hash === step.expected
      : there?.isFile() === true && (await examineReadable(folder, name))?.hash === step.entry.hash);
  const isRemoved = step.step === "remove" && there === null && displaced !== null && displaced.hash === step.expected;
  if (isPlaced || isRemoved) {
    folder.sync();
    if (step.staged !== "" && open.staging.look(step.staged)) open.staging.remove(step.staged);
    const stats = isPlaced && step.entry.kind === "file" ? folder.look(name) : null;
    const kept = displaced && (await unshare(open, displaced, newId()));
    return manifest.transaction(() => {
      if (kept) manifest.addObject(kept);
      const print = stats ? printOf(stats) : "";
      const racy = stats !== null && isRacy(stats, context.diskClock.nowUs());
      manifest.write({ entry: step.entry, source: step.source, print, racy, state: State.here }, context.nowUs());
      manifest.finish(step.id);
    });
  }
  if (moved && there === null) {
    giveBack(open.objects, step.id, folder, name);
    folder.sync();
  } else if (displaced) {
    const kept = await unshare(open, displaced, newId());
    manifest.transaction(() => manifest.addObject(kept));
  }
  manifest.transaction(() => manifest.finish(step.id));
}

async function keepDisplaced(context: RootContext, open: OpenRoot, step: JournalStep): Promise<void> {
  const found = open.objects.look(step.id)?.isFile() ? await displacedOf(context, open, step) : null;
  const displaced = found && (await unshare(open, found, newId()));
  context.manifest.transaction(() => {
    if (displaced) context.manifest.addObject(displaced);
    context.manifest.finish(step.id);
  });
}

async function displacedOf(context: RootContext, open: OpenRoot, step: JournalStep): Promise<StoredObject | null> {
  const author = context.manifest.row(step.path)?.author ?? context.nodeName;
  try {
    return await storedObject(context, open, step.id, { path: step.path, why: step.step === "remove" ? "deleted" : "replaced", author });
  } catch (error) {
    if (errorCode(error) === "EACCES") return null;
    throw error;
  }
}

import { SyncError, type FileEntry } from "@scoutsync/core";
import type { FileRoot, Part } from "@scoutsync/files";
import { Reception, type FilePart, type FilePeer, type PutStream } from "@scoutsync/session";

const PAGE = 500;
const PIECE_BYTES = 1024 * 1024;

/**
 * A part of a root of this node as the copy meets it that nodes of a scope have of it: entries outside of the part are neither
 * told nor taken. What the copy says of bytes that it does not have itself is left out: the root may have such bytes in
 * another team's files, and would keep them under this team's name.
 */
export function partPeer(main: FileRoot, copy: FileRoot, part: Part): FilePeer {
  return {
    address: `the root "${main.name}" of this node`,
    async *fileList({ known, callerIndex }) {
      let { index } = main.state;
      let seq = await main.placeOf(known);
      yield { index, entries: [], end: null, part: null };
      for (let isEnd = false; !isEnd;) {
        const page = await main.list({ index, seq, sinceUs: 0, tombstones: true, limit: PAGE, notFrom: callerIndex });
        ({ index, seq, isEnd } = page);
        const entries = page.entries.filter(({ path }) => part.has(path));
        if (entries.length > 0) yield { index: "", entries, end: null, part: null };
      }
      const received = await main.received(callerIndex);
      yield { index: "", entries: [], end: { index, seq, digest: "", received, files: 0, pending: main.state.wanted }, part: null };
    },
    async *fileBytes(_root, parts) {
      for (const [at, { hash, offset, length }] of parts.entries()) {
        try {
          const end = length === 0 ? Number.MAX_SAFE_INTEGER : offset + length;
          for (let from = offset; from < end;) {
            const asked = Math.min(PIECE_BYTES, end - from);
            const bytes = await main.read(hash, from, asked);
            const { length: got } = bytes;
            if (got > 0) yield { part: at, offset: from, bytes };
            from += got;
            if (got < asked) break;
          }
        } catch (error) {
          if (!(error instanceof SyncError) || error.code !== "NOT_FOUND") throw error;
          yield { part: at, missing: error.message };
        }
      }
    },
    fileRecipe: (_root, hash) => main.recipe(hash, Number.MAX_SAFE_INTEGER),
    openPut: ({ name, index }) => openPut(main, copy, part, { name, index }),
  };
}

async function openPut(main: FileRoot, copy: FileRoot, part: Part, { name, index }: { name: string; index: string }): Promise<PutStream> {
  const reception = new Reception(main, index, name);
  const ready = { received: await main.received(index), known: await main.cursorsOf(index), index: main.state.index, digest: "" };
  return {
    ready,
    offer: async (entries) => (await reception.offer(await ofItsOwn(copy, part, entries))).wants,
    bytes: (hash, offset, bytes) => reception.bytes(hash, offset, bytes),
    async recipe(hash, recipe): Promise<FilePart[]> {
      try {
        return await reception.recipe(hash, recipe);
      } catch (error) {
        if (!(error instanceof SyncError) || (error.code !== "FILE_CORRUPT" && error.code !== "NOT_FOUND")) throw error;
        return [await reception.allFrom(hash)];
      }
    },
    async commit(missing) {
      for (const hash of missing) await reception.missing(hash);
      const { placed, conflicts, removed, refused } = await reception.commit();
      return { placed, conflicts, removed, refused };
    },
    async done({ seq }) {
      await main.noteReceived(index, seq, ready.index);
      return { index: main.state.index, seq: main.state.seq, digest: "", received: seq, files: 0, pending: 0 };
    },
    cancel: () => void reception.leave(),
  };
}

async function ofItsOwn(copy: FileRoot, part: Part, offered: readonly FileEntry[]): Promise<FileEntry[]> {
  const entries = offered.filter(({ path }) => part.has(path));
  const named = [...new Set(entries.flatMap(({ before, losers }) => [before, ...losers.map(({ hash }) => hash)]))].filter(Boolean);
  if (named.length === 0) return entries;
  const holds = await copy.holds(named);
  const held = new Set(named.filter((_, at) => holds[at]));
  return entries.map((entry) => ({
    ...entry,
    before: held.has(entry.before) ? entry.before : "",
    losers: entry.losers.filter(({ hash }) => held.has(hash)),
  }));
}

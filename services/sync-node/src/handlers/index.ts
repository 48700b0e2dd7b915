import type { SyncNodeServer } from "@scoutsync/protocol";
import type { NodeContext } from "../context.ts";
import { answering, conversing, streaming } from "./calls.ts";
import { checkCapture } from "./capture.ts";
import { getChanges } from "./changes.ts";
import { digest } from "./digest.ts";
import { forget, listKnownNodes, retireKnownNode } from "./forgetting.ts";
import { fileChecksums, fileStatus, forgetFiles, getFile, listFiles, restoreFile } from "./files.ts";
import { ping } from "./ping.ts";
import { pushChanges } from "./push.ts";
import { putFile } from "./put-file.ts";
import { reissue } from "./reissue.ts";
import { getHistory, listReviews, resolveReview, restoreRow } from "./review.ts";
import { sync, verify } from "./sync.ts";

/** Every call of the SyncNode service. */
export function handlers(context: NodeContext): SyncNodeServer {
  return {
    ping: answering(context, (request, _signal, speaker) => ping(context, request, speaker)),
    getChanges: streaming(context, (request, outbox, signal, speaker) => getChanges(context, request, outbox, signal, speaker)),
    pushChanges: conversing(context, (requests, outbox, signal, speaker) => pushChanges(context, requests, outbox, signal, speaker)),
    digest: answering(context, (request) => digest(context, request)),
    checkCapture: answering(context, (request) => checkCapture(context, request)),
    sync: streaming(context, (request, outbox, signal) => sync(context, request, outbox, signal)),
    verify: answering(context, (request, signal) => verify(context, request, signal)),
    listReviews: answering(context, (request) => listReviews(context, request)),
    resolveReview: answering(context, (request) => resolveReview(context, request)),
    getHistory: answering(context, (request) => getHistory(context, request)),
    reissue: answering(context, (request) => reissue(context, request)),
    listKnownNodes: answering(context, (request) => listKnownNodes(context, request)),
    retireKnownNode: answering(context, (request) => retireKnownNode(context, request)),
    forget: answering(context, (request) => forget(context, request)),
    fileChecksums: streaming(context, (request, outbox, signal) => fileChecksums(context, request, outbox, signal)),
    getFile: streaming(context, (request, outbox, signal, speaker) => getFile(context, request, outbox, signal, speaker)),
    putFile: conversing(context, (requests, outbox, signal, speaker) => putFile(context, requests, outbox, signal, speaker)),
    listFiles: answering(context, (request) => listFiles(context, request)),
    fileStatus: answering(context, (request) => fileStatus(context, request)),
    forgetFiles: answering(context, (request) => forgetFiles(context, request)),
    restoreFile: answering(context, (request) => restoreFile(context, request)),
    restoreRow: answering(context, (request) => restoreRow(context, request)),
  };
}

import { SyncError } from "@scoutsync/core";
import type { AnsweredCall, ServiceClient } from "./client.ts";

/** For one call: whether whoever answers it may answer as the node that it says it is. */
export interface Answering {
  readonly onCall: (call: AnsweredCall) => void;
  /** Call with what an answer says. Throws FORBIDDEN. */
  check(nodeId: string): void;
}

/** In plain text nobody shows who they are, and nothing is checked. */
export function answeringOf<S>({ checkAnswersAs, address }: ServiceClient<S>): Answering {
  let call: AnsweredCall | null = null;
  let checked = "";
  return {
    onCall: (begun) => (call = begun),
    check(nodeId) {
      // The same word on every batch of a stream.
      if (!checkAnswersAs || nodeId === "" || nodeId === checked) return;
      const certificate = call?.getAuthContext()?.sslPeerCertificate?.raw;
      if (!certificate) {
        throw new SyncError({
          code: "FORBIDDEN",
          message: `${address} answered as node/${nodeId.slice(0, 80)} without a certificate`,
          action: "Install the version of @grpc/grpc-js that package-lock.json names.",
        });
      }
      checkAnswersAs(certificate, nodeId);
      checked = nodeId;
    },
  };
}

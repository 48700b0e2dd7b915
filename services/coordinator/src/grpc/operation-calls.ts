import type { UntypedServiceImplementation } from "@grpc/grpc-js";
import { CoordinatorService, plainCalls } from "@scoutsync/protocol";
import type { Core } from "../core.ts";
import { ask } from "../operations/ask.ts";
import { filled } from "../operations/rpc.ts";
import { OPERATIONS } from "../operations/table.ts";
import type { Upkeep } from "../upkeep.ts";
import { unaryCall } from "./unary-call.ts";

const plain = plainCalls("scoutsync.v1.Coordinator");
/** The Coordinator service, in which calls that are operations take and give plain objects. */
export const COORDINATOR_SERVICE = {
  ...CoordinatorService,
  ...Object.fromEntries(OPERATIONS.flatMap(({ rpc }) => (rpc === null ? [] : [[rpc.call, plain[rpc.call]]]))),
};

/** One call for each operation that has one of its own; it does what the route does. */
export function operationCalls({
  core,
  upkeep,
  stopped,
}: {
  core: Core;
  upkeep: Upkeep;
  stopped: AbortSignal;
}): UntypedServiceImplementation {
  const calls: UntypedServiceImplementation = {};
  for (const one of OPERATIONS) {
    const { rpc } = one;
    if (rpc === null) continue;
    calls[rpc.call] = unaryCall<Readonly<Record<string, unknown>>, object>(async (request, _call, signal) => {
      const fields = rpc.fields === undefined ? filled(request) : rpc.fields(request);
      return rpc.answer(await ask(one, { core, upkeep, signal }, fields), request);
    }, stopped);
  }
  return calls;
}

import type { ReissueRequest, ReissueResponse } from "@scoutsync/protocol";
import type { NodeContext } from "../context.ts";

/** A person says that whoever sent only a part is gone for good. */
export async function reissue(context: NodeContext, request: ReissueRequest): Promise<ReissueResponse> {
  const { replica } = context.databases.get(request.database);
  const origins = await replica.reissue(0);
  context.logger.info({ database: replica.name, origins }, "took over what ended runs left");
  return { origins: BigInt(origins) };
}

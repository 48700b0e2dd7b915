import { connect, constants } from "node:http2";
import { expect, test } from "vitest";
import { eventually, startNode } from "./nodes.ts";

test("the server offers pushes a window fit for a long line", async () => {
  const { address } = await startNode("a");
  const session = connect(`http://${address}`);
  const settings = await new Promise<{ initialWindowSize?: number }>((resolve) => session.once("remoteSettings", resolve));
  expect(settings.initialWindowSize).toBe(8 * 1024 * 1024);
  // The connection's own window is widened by an update that follows the settings.
  await eventually("the window of the connection", () => (session.state.remoteWindowSize ?? 0) >= 8 * 1024 * 1024);
  session.close();
  session.destroy(undefined, constants.NGHTTP2_NO_ERROR);
});

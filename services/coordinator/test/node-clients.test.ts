import { PingRequest, unary } from "@scoutsync/protocol";
import { plainDial } from "@scoutsync/trust";
import { expect, it } from "vitest";
import { NodeClients } from "../src/detection/node-clients.ts";
import { eventually } from "./fleet-under-test.ts";
import { ScriptedNode } from "./scripted-nodes.ts";

it("reaches a node that is back at once, though it was called in vain while it was away", async () => {
  const clients = new NodeClients(plainDial(false));
  const node = await new ScriptedNode("back").up();
  const ping = () => unary(clients.ready(node.address), "ping", PingRequest.fromPartial({}));
  try {
    await ping();
    node.down();
    const state = () => clients.to(node.address).channel.getChannel().getConnectivityState(false);
    const pausing = 3;
    await eventually(async () => {
      await unary(clients.to(node.address), "ping", PingRequest.fromPartial({})).catch(() => {});
      return state() === pausing;
    }, 10_000);
    await node.up();
    // The channel may have dialled again by itself; what is asked for here must not depend on that.
    expect((await ping()).name).toBe("back");
  } finally {
    clients.close();
    node.down();
  }
});

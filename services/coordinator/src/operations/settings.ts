import { z } from "zod";
import type { SettingEntry } from "../registry/settings.ts";
import { Nothing } from "./inputs.ts";
import { operation } from "./operation.ts";
import { SettingListShape, type SettingShape } from "./shapes.ts";

export function settingView(entry: SettingEntry): z.infer<typeof SettingShape> {
  return {
    key: entry.key,
    value: entry.value,
    value_type: entry.valueType,
    default: entry.default,
    is_default: entry.isDefault,
    description: entry.description,
    secret: entry.secret,
  };
}

function wireSetting({ default: default_value, ...setting }: z.input<typeof SettingShape>) {
  return { ...setting, default_value };
}

const NewValue = z.union([z.string(), z.number(), z.boolean()]).transform(String);

export const SETTING_OPERATIONS = [
  operation({
    id: "getConfig",
    method: "GET",
    need: { role: "viewer", scope: "config" },
    path: "/api/config",
    summary: "Settings of the fleet",
    // Workers read how long to wait for a session.
    rpc: {
      call: "getSettings",
      services: ["coordinator", "worker"],
      answer: ({ settings }) => ({ settings: settings.map(wireSetting) }),
    },
    command: "config get",
    params: Nothing,
    query: Nothing,
    body: Nothing,
    answer: SettingListShape,
    status: 200,
    run: ({ core }) => ({ settings: core.registry.settings.list().map(settingView) }),
  }),
  operation({
    id: "setConfig",
    method: "PUT",
    need: { role: "superadmin", scope: "config" },
    path: "/api/config",
    summary: "Changes settings; all of them or, when one is wrong, none. They take effect at once",
    rpc: {
      call: "setSetting",
      fields: ({ key, value }) => ({ [key]: value }),
      answer: ({ settings }, { key }) => ({ setting: settings.filter((one) => one.key === key).map(wireSetting)[0] }),
    },
    command: "config set",
    params: Nothing,
    query: Nothing,
    body: z.record(z.string(), NewValue.nullable()).describe("Values by key; null makes it the default again"),
    answer: SettingListShape,
    status: 200,
    run: ({ core, upkeep }, { body }) => {
      const { registry } = core;
      registry.transaction(() => {
        for (const [key, value] of Object.entries(body)) {
          if (value === null) registry.settings.reset(key);
          else registry.settings.set(key, value);
        }
      });
      core.events.emit("changed");
      void upkeep.reconcile();
      return { settings: registry.settings.list().map(settingView) };
    },
  }),
];

import { SyncError } from "@scoutsync/core";
import type { Setting } from "@scoutsync/coordinator";
import { asks } from "./fleet-command.ts";

/** Throws NOT_FOUND. */
function oneOf(settings: readonly Setting[], key: string): Setting {
  const found = settings.find((setting) => setting.key === key);
  if (found !== undefined) return found;
  throw new SyncError({
    code: "NOT_FOUND",
    message: `there is no setting "${key}"`,
    action: "See `scoutsync config get` for all of them.",
  });
}

/** `scoutsync config`: settings of the fleet, kept by the coordinator and read while it runs. */
export const SETTING_COMMANDS = [
  asks<{ settings: Setting[] }>({
    operation: "getConfig",
    usage: "config get [key]",
    summary: "all settings, or one",
    examples: ["scoutsync config get", "scoutsync config get catchup_check_interval --json"],
    document: ({ settings }, { args: [key] }) => (key === undefined ? settings : oneOf(settings, key)),
    people: ({ settings }, out, { args: [key] }) => {
      if (key !== undefined) return out.line(oneOf(settings, key).value);
      out.table(
        ["key", "value", "", "meaning"],
        settings.map((one) => [one.key, one.value, one.is_default ? "default" : "set", one.description]),
      );
    },
  }),
  asks<{ settings: Setting[] }>({
    operation: "setConfig",
    usage: "config set <key> <value>",
    summary: "change one setting of the whole fleet",
    examples: ["scoutsync config set catchup_check_interval 60", "scoutsync config set catchup_enabled false"],
    fields: ({ args: [key = "", value] }) => ({ [key]: value }),
    document: ({ settings }, { args: [key = ""] }) => oneOf(settings, key),
    people: ({ settings }, out, { args: [key = ""] }) => out.line(`${key} is ${oneOf(settings, key).value} now.`),
  }),
];

import { SyncError } from "@scoutsync/core";
import { unary, type Setting } from "@scoutsync/protocol";
import { declare, type Registration } from "../command.ts";
import { QUICK_DEADLINE_MS, withCoordinator } from "../connect.ts";

/** `scoutsync config`: settings of the fleet, kept by the coordinator and read while it runs. */
export const registerConfig: Registration = (program, surroundings) => {
  const config = program.command("config").description("settings of the fleet; a change takes effect at once");

  declare(config, surroundings, {
    usage: "get [key]",
    summary: "all settings, or one",
    usesCoordinator: true,
    examples: ["scoutsync config get", "scoutsync config get catchup_check_interval --json"],
    run: async (_options, invocation, key) => {
      const { settings } = await withCoordinator(invocation, (client) =>
        unary(client, "getSettings", {}, { deadlineMs: QUICK_DEADLINE_MS }),
      );
      const { out } = invocation;
      if (key === undefined) {
        out.result(settings.map(settingDocument), () =>
          out.table(
            ["key", "value", "", "meaning"],
            settings.map((one) => [one.key, one.value, one.isDefault ? "default" : "set", one.description]),
          ),
        );
        return;
      }
      const found = settings.find((setting) => setting.key === key);
      if (!found)
        throw new SyncError({
          code: "NOT_FOUND",
          message: `there is no setting "${key}"`,
          action: "See `scoutsync config get` for all of them.",
        });
      out.result(settingDocument(found), () => out.line(found.value));
    },
  });

  declare(config, surroundings, {
    usage: "set <key> <value>",
    summary: "change one setting of the whole fleet",
    usesCoordinator: true,
    examples: ["scoutsync config set catchup_check_interval 60", "scoutsync config set catchup_enabled false"],
    run: async (_options, invocation, key = "", value = "") => {
      const { setting } = await withCoordinator(invocation, (client) =>
        unary(client, "setSetting", { key, value }, { deadlineMs: QUICK_DEADLINE_MS }),
      );
      invocation.out.result(setting ? settingDocument(setting) : { key, value }, () =>
        invocation.out.line(`${key} is ${setting?.value ?? value} now.`),
      );
    },
  });
};

function settingDocument({ key, value, valueType, isDefault, defaultValue, description }: Setting): object {
  return { key, value, value_type: valueType, default: isDefault, default_value: defaultValue, description };
}

import type { Registration } from "../command.ts";
import { declareFleetCommand, type DeclaredFleetCommand } from "./fleet-command.ts";
import { JOB_COMMANDS } from "./jobs.ts";
import { NODE_COMMANDS } from "./nodes.ts";
import { RECORD_COMMANDS } from "./records.ts";
import { SETTING_COMMANDS } from "./settings.ts";
import { STATUS_COMMANDS } from "./status.ts";

/** Every command that is one operation of the coordinator's table. */
export const FLEET_COMMANDS: readonly DeclaredFleetCommand[] = [
  ...STATUS_COMMANDS,
  ...NODE_COMMANDS,
  ...JOB_COMMANDS,
  ...RECORD_COMMANDS,
  ...SETTING_COMMANDS,
];

const GROUPS: Readonly<Record<string, string>> = {
  nodes: "who is in the fleet, as the coordinator knows it",
  jobs: "what the coordinator has queued",
  config: "settings of the fleet; a change takes effect at once",
};

/** The commands of the fleet, in their groups. */
export const registerFleetCommands: Registration = (program, surroundings) => {
  for (const command of FLEET_COMMANDS) {
    const [group = "", ...rest] = command.usage.split(" ");
    const description = GROUPS[group];
    if (description === undefined) declareFleetCommand(program, surroundings, command);
    else {
      const parent = program.commands.find((known) => known.name() === group) ?? program.command(group).description(description);
      declareFleetCommand(parent, surroundings, { ...command, usage: rest.join(" ") });
    }
  }
};

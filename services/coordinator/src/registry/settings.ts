import { SyncError } from "@scoutsync/core";
import type { Database } from "better-sqlite3";

interface Definition<T> {
  type: T extends boolean ? "boolean" : "integer";
  default: T;
  /** Smallest accepted value of an integer. */
  minimum?: number;
  description: string;
}

const DEFINITIONS = {
  catchup_enabled: {
    type: "boolean",
    default: true,
    description: "Bring nodes up to date at all. false stops every catch-up but one asked for by hand.",
  },
  catchup_scheduler_enabled: {
    type: "boolean",
    default: true,
    description: "Start catch-ups without being asked: at every scan, when a node returns, when a node has something new.",
  },
  catchup_check_interval: {
    type: "integer",
    default: 300,
    minimum: 1,
    description: "Seconds between two scans of the whole fleet.",
  },
  catchup_batch_size: {
    type: "integer",
    default: 10_000,
    minimum: 1,
    description: "Changes per batch in a catch-up.",
  },
  max_catchup_days: {
    type: "integer",
    default: 30,
    minimum: 1,
    description: "Days of history that are shown and kept. Nothing is left out of a sync because of it.",
  },
  initial_lookback_days: {
    type: "integer",
    default: 7,
    minimum: 0,
    description: "Days of history that are shown for a node that is new. Nothing is left out of a sync because of it.",
  },
  catchup_connection_timeout: {
    type: "integer",
    default: 60,
    minimum: 1,
    description: "Seconds until a catch-up session must have given its first sign of life.",
  },
  connection_timeout: {
    type: "integer",
    default: 30,
    minimum: 1,
    description: "Seconds a single question to a node may take. A Ping never waits longer than 5.",
  },
  max_retries: {
    type: "integer",
    default: 5,
    minimum: 1,
    description: "Attempts of one catch-up before it waits for the next scan.",
  },
} as const satisfies Record<string, Definition<boolean> | Definition<number>>;

export type SettingKey = keyof typeof DEFINITIONS;
type ValueOf<K extends SettingKey> = (typeof DEFINITIONS)[K]["type"] extends "boolean" ? boolean : number;

/** One setting with what is known about it. `value` is text as it would stand in `sync_config`. */
export interface SettingEntry {
  key: string;
  value: string;
  valueType: "boolean" | "integer";
  isDefault: boolean;
  description: string;
}

const TRUE = new Set(["true", "1", "yes", "on"]);
const FALSE = new Set(["false", "0", "no", "off"]);

/**
 * Fleet settings. Read from `sync_config` every time they are needed, so that a row written by another process takes
 * effect at once; a value that does not fit its type counts as not set.
 */
export class Settings {
  readonly #read;
  readonly #write;

  constructor(database: Database) {
    this.#read = database.prepare<[string], { value: string }>("SELECT value FROM sync_config WHERE key = ?");
    this.#write = database.prepare(
      `INSERT INTO sync_config (key, value, value_type) VALUES (?, ?, ?)
       ON CONFLICT (key) DO UPDATE SET value = excluded.value, value_type = excluded.value_type`,
    );
  }

  /** The value in force now. */
  get<K extends SettingKey>(key: K): ValueOf<K> {
    const text = this.#read.get(key)?.value;
    const parsed = text === undefined ? null : parse(key, text);
    return (parsed ?? DEFINITIONS[key].default) as ValueOf<K>;
  }

  /** Every known setting in the order of their definition. */
  list(): SettingEntry[] {
    return (Object.keys(DEFINITIONS) as SettingKey[]).map((key) => this.#entry(key));
  }

  /** Stores a value given as text. Throws INVALID_ARGUMENT for an unknown key or a value that does not fit. */
  set(key: string, text: string): SettingEntry {
    if (!isSettingKey(key)) {
      throw new SyncError({
        code: "INVALID_ARGUMENT",
        message: `There is no setting "${key.slice(0, 60)}"`,
        action: `Use one of: ${Object.keys(DEFINITIONS).join(", ")}.`,
      });
    }
    const parsed = parse(key, text);
    const { type, ...definition } = DEFINITIONS[key];
    if (parsed === null) {
      const minimum = "minimum" in definition ? ` of at least ${definition.minimum}` : "";
      throw new SyncError({
        code: "INVALID_ARGUMENT",
        message: `"${text.slice(0, 60)}" is not a value for ${key}`,
        action: type === "boolean" ? "Use true or false." : `Use a whole number${minimum}.`,
      });
    }
    this.#write.run(key, String(parsed), type);
    return this.#entry(key);
  }

  #entry(key: SettingKey): SettingEntry {
    const text = this.#read.get(key)?.value;
    const parsed = text === undefined ? null : parse(key, text);
    return {
      key,
      value: String(parsed ?? DEFINITIONS[key].default),
      valueType: DEFINITIONS[key].type,
      isDefault: parsed === null,
      description: DEFINITIONS[key].description,
    };
  }
}

function isSettingKey(key: string): key is SettingKey {
  return Object.hasOwn(DEFINITIONS, key);
}

function parse(key: SettingKey, text: string): boolean | number | null {
  const definition: Definition<boolean> | Definition<number> = DEFINITIONS[key];
  const trimmed = text.trim().toLowerCase();
  if (definition.type === "boolean") return TRUE.has(trimmed) ? true : FALSE.has(trimmed) ? false : null;
  const number = /^\d{1,9}$/.test(trimmed) ? Number(trimmed) : Number.NaN;
  return number >= (definition.minimum ?? 0) ? number : null;
}

import { SyncError } from "@scoutsync/core";
import type { Database } from "better-sqlite3";
import { SETTING_DEFINITIONS, type SettingDefinition, type SettingKey } from "./setting-definitions.ts";

export type { SettingKey } from "./setting-definitions.ts";

interface Types {
  boolean: boolean;
  integer: number;
  string: string;
}
type ValueOf<K extends SettingKey> = Types[(typeof SETTING_DEFINITIONS)[K]["type"]];

/** One setting with what is known about it. `value` is text as it would stand in `sync_config`. */
export interface SettingEntry {
  key: string;
  value: string;
  valueType: "boolean" | "integer" | "string";
  default: string;
  isDefault: boolean;
  description: string;
  /** `value` is not the value but says whether there is one. */
  secret: boolean;
}

const TRUE = new Set(["true", "1", "yes", "on"]);
const FALSE = new Set(["false", "0", "no", "off"]);
/** Stands for a secret that is set. */
export const SECRET_SHOWN = "(set)";

/**
 * Fleet settings. Read from `sync_config` every time they are needed, so that a row written by another process takes
 * effect at once; a value that does not fit its type counts as not set. What is not set there is as `presets` says
 * (the environment of the service), else the default.
 */
export class Settings {
  readonly #read;
  readonly #write;
  readonly #remove;
  readonly #presets: Readonly<Record<string, string>>;

  constructor(database: Database, presets: Readonly<Record<string, string>> = {}) {
    this.#presets = presets;
    this.#read = database.prepare<[string], { value: string }>("SELECT value FROM sync_config WHERE key = ?");
    this.#write = database.prepare(
      `INSERT INTO sync_config (key, value, value_type) VALUES (?, ?, ?)
       ON CONFLICT (key) DO UPDATE SET value = excluded.value, value_type = excluded.value_type`,
    );
    this.#remove = database.prepare<[string]>("DELETE FROM sync_config WHERE key = ?");
  }

  /** The value in force now. */
  get<K extends SettingKey>(key: K): ValueOf<K> {
    return (this.#set(key) ?? this.#fallback(key)) as ValueOf<K>;
  }

  /** Every known setting in the order of their definition. */
  list(): SettingEntry[] {
    return (Object.keys(SETTING_DEFINITIONS) as SettingKey[]).map((key) => this.#entry(key));
  }

  /** Stores a value given as text. Throws INVALID_ARGUMENT for an unknown key or a value that does not fit. */
  set(key: string, text: string): SettingEntry {
    const known = knownKey(key);
    const definition: SettingDefinition = SETTING_DEFINITIONS[known];
    // A form that sends everything back must not store the stand-in.
    if (isSecret(definition) && text === SECRET_SHOWN) return this.#entry(known);
    const parsed = parse(definition, text);
    if (parsed === null) {
      throw new SyncError({
        code: "INVALID_ARGUMENT",
        message: `"${text.slice(0, 60)}" is not a value for ${key}`,
        action: `Use ${whatFits(definition)}.`,
      });
    }
    this.#write.run(known, String(parsed), definition.type);
    return this.#entry(known);
  }

  /** Makes a setting what it is when nobody set it. Throws INVALID_ARGUMENT for an unknown key. */
  reset(key: string): SettingEntry {
    const known = knownKey(key);
    this.#remove.run(known);
    return this.#entry(known);
  }

  #set(key: SettingKey): boolean | number | string | null {
    const text = this.#read.get(key)?.value;
    return text === undefined ? null : parse(SETTING_DEFINITIONS[key], text);
  }

  #fallback(key: SettingKey): boolean | number | string {
    const preset = this.#presets[key];
    return (preset === undefined ? null : parse(SETTING_DEFINITIONS[key], preset)) ?? SETTING_DEFINITIONS[key].default;
  }

  #entry(key: SettingKey): SettingEntry {
    const definition: SettingDefinition = SETTING_DEFINITIONS[key];
    const set = this.#set(key);
    const secret = isSecret(definition);
    const shown = (value: boolean | number | string) => (secret && value !== "" ? SECRET_SHOWN : String(value));
    return {
      key,
      value: shown(set ?? this.#fallback(key)),
      valueType: definition.type,
      default: shown(this.#fallback(key)),
      isDefault: set === null,
      description: definition.description,
      secret,
    };
  }
}

/** Throws INVALID_ARGUMENT when a preset is for no setting or does not fit it. */
export function checkPresets(presets: Readonly<Record<string, string>>): void {
  for (const [key, text] of Object.entries(presets)) {
    const definition: SettingDefinition = SETTING_DEFINITIONS[knownKey(key)];
    if (parse(definition, text) !== null) continue;
    throw new SyncError({
      code: "INVALID_ARGUMENT",
      message: `SCOUTSYNC_${key.toUpperCase()} is "${text.slice(0, 60)}"`,
      action: `Use ${whatFits(definition)}.`,
    });
  }
}

function knownKey(key: string): SettingKey {
  if (Object.hasOwn(SETTING_DEFINITIONS, key)) return key as SettingKey;
  throw new SyncError({
    code: "INVALID_ARGUMENT",
    message: `There is no setting "${key.slice(0, 60)}"`,
    action: `Use one of: ${Object.keys(SETTING_DEFINITIONS).join(", ")}.`,
  });
}

function isSecret(definition: SettingDefinition): boolean {
  return definition.type === "string" && definition.secret === true;
}

function whatFits(definition: SettingDefinition): string {
  if (definition.type === "boolean") return "true or false";
  if (definition.type === "integer") return `a whole number of at least ${definition.minimum}`;
  return `${definition.shape}, or nothing`;
}

/** Null when the text does not fit. */
function parse(definition: SettingDefinition, text: string): boolean | number | string | null {
  const trimmed = text.trim();
  if (definition.type === "string") return trimmed === "" || definition.pattern.test(trimmed) ? trimmed : null;
  if (definition.type === "boolean") {
    const word = trimmed.toLowerCase();
    return TRUE.has(word) ? true : FALSE.has(word) ? false : null;
  }
  const number = /^\d{1,9}$/.test(trimmed) ? Number(trimmed) : Number.NaN;
  return number >= definition.minimum ? number : null;
}

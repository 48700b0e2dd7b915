/** One setting of the fleet: its type, what it is when nobody set it, and what it does. */
interface BooleanDefinition {
  type: "boolean";
  default: boolean;
  description: string;
}
interface IntegerDefinition {
  type: "integer";
  default: number;
  /** Smallest accepted value. */
  minimum: number;
  description: string;
}
interface StringDefinition {
  type: "string";
  default: string;
  /** What an accepted value looks like; empty is always accepted and means "not used". */
  pattern: RegExp;
  /** What `pattern` means, for an error message. */
  shape: string;
  /** The value is not shown to those who list settings. */
  secret?: boolean;
  description: string;
}
export type SettingDefinition = BooleanDefinition | IntegerDefinition | StringDefinition;

const boolean = (value: boolean, description: string) => ({ type: "boolean", default: value, description }) as const;
const integer = (value: number, minimum: number, description: string) =>
  ({ type: "integer", default: value, minimum, description }) as const;

const TIME_OF_DAY_WINDOW = /^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$/;
const WINDOW_SHAPE = "HH:MM-HH:MM in UTC, for example 20:00-06:00";

/** Every setting of the fleet, in the order in which people see them. */
export const SETTING_DEFINITIONS = {
  catchup_enabled: boolean(true, "Bring nodes up to date at all. false stops every catch-up but one asked for by hand."),
  catchup_scheduler_enabled: boolean(
    true,
    "Start catch-ups without being asked: at every scan, when a node returns, when a node has something new.",
  ),
  catchup_check_interval: integer(300, 1, "Seconds between two scans of the whole fleet."),
  catchup_batch_size: integer(10_000, 1, "Changes per batch in a catch-up."),
  max_catchup_days: integer(30, 1, "Days of history that are shown and kept. Nothing is left out of a sync because of it."),
  scan_stagger_seconds: integer(
    0,
    0,
    "Seconds over which a scheduled scan spreads its questions, so that not all nodes are asked at once; 0 = all at once.",
  ),
  initial_lookback_days: integer(
    7,
    0,
    "Days of history that are shown for a node that is new. Nothing is left out of a sync because of it.",
  ),
  catchup_connection_timeout: integer(60, 1, "Seconds until a catch-up session must have given its first sign of life."),
  connection_timeout: integer(30, 1, "Seconds a single question to a node may take. A Ping never waits longer than 5."),
  max_retries: integer(5, 1, "Attempts of one catch-up before it waits for the next scan."),
  max_concurrent_sessions: integer(64, 1, "Sessions in the whole fleet at the same time."),
  session_turn_seconds: integer(
    120,
    0,
    "Seconds after which a session gives way to nodes that wait for one of its two, to go on later where it stopped; 0 = never.",
  ),
  sessions_per_minute: integer(
    0,
    0,
    "Sessions in the whole fleet that may begin within a minute, so that sync leaves the network to others; 0 = no limit.",
  ),
  offpeak_window: {
    type: "string",
    default: "",
    pattern: TIME_OF_DAY_WINDOW,
    shape: WINDOW_SHAPE,
    description: "Start catch-ups without being asked only within this time of the day, HH:MM-HH:MM in UTC; empty = always.",
  },
  limit_rows_per_second: integer(
    0,
    0,
    "Changes of rows that pass each node per second at most, in both directions together; 0 = no limit.",
  ),
  limit_rows_kib_per_second: integer(
    0,
    0,
    "KiB of rows, as they travel, that pass each node per second at most, in both directions together; 0 = no limit.",
  ),
  limit_files_kib_per_second: integer(
    0,
    0,
    "KiB of files that pass each node per second at most, in both directions together; 0 = no limit.",
  ),
  limit_window: {
    type: "string",
    default: "",
    pattern: TIME_OF_DAY_WINDOW,
    shape: WINDOW_SHAPE,
    description: "The three limits hold only within this time of the day, HH:MM-HH:MM in UTC; empty = always.",
  },
  critical_nodes: {
    type: "string",
    default: "",
    pattern: /^[^,\s][^,]*(,\s*[^,\s][^,]*)*$/,
    shape: "names of nodes joined by commas",
    description: "Names of nodes that are caught up before all others, joined by commas.",
  },
  verify_interval: integer(86_400, 0, "Seconds between two comparisons of every node's rows with another node's; 0 = never."),
  canary_enabled: boolean(
    true,
    "Look on every node whether writes are captured, by writing, and whether its rows are those that capture knows of.",
  ),
  canary_interval: integer(600, 10, "Seconds between two rounds of the canary."),
  cleanup_interval: integer(86_400, 0, "Seconds between two clean-ups of logs and figures; 0 = never."),
  alert_silent_seconds: integer(300, 0, "Alert when a node is silent for this long; 0 = never."),
  alert_lag_seconds: integer(900, 0, "Alert when the oldest change that a node lacks is older than this; 0 = never."),
  alert_failures: integer(5, 0, "Alert when so many sessions of a node failed in a row; 0 = never."),
  alert_clock_seconds: integer(5, 0, "Alert when a node's clock is off by more than this; 0 = never."),
  alert_disk_percent: integer(10, 0, "Alert when a node's disk has less than this share free, percent; 0 = never."),
  alert_parked: boolean(true, "Alert when a node holds rows that a constraint keeps out of their table."),
  alert_email_to: {
    type: "string",
    default: "",
    pattern: /^[^\s@,]+@[^\s@,]+(,\s*[^\s@,]+@[^\s@,]+)*$/,
    shape: "addresses joined by commas",
    description: "Who gets alerts by mail, addresses joined by commas; empty = nobody.",
  },
  alert_email_from: {
    type: "string",
    default: "",
    pattern: /^[^\s@]+@[^\s@]+$/,
    shape: "an address",
    description: "Sender of alerts; empty = scoutsync at this machine.",
  },
  smtp_url: {
    type: "string",
    default: "",
    pattern: /^smtps?:\/\/\S+$/,
    shape: "smtp://user:password@host:587 or smtps://…",
    secret: true,
    description: "Mail server for alerts, smtp://user:password@host:587; smtps:// for TLS from the first byte.",
  },
  alert_webhook_url: {
    type: "string",
    default: "",
    pattern: /^https?:\/\/\S+$/,
    shape: "an http:// or https:// URL",
    secret: true,
    description: "Where alerts are sent as JSON by POST; empty = nowhere.",
  },
} as const satisfies Record<string, SettingDefinition>;

export type SettingKey = keyof typeof SETTING_DEFINITIONS;

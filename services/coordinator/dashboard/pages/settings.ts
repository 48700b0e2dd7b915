import { act } from "../act.ts";
import { api, csrfToken, login, Resource } from "../api.ts";
import { counted, duration } from "../format.ts";
import { html, live as bound, nothing, type TemplateResult } from "../lit.ts";
import type { Setting } from "../model.ts";
import { cleanup } from "../parts/cleanup.ts";
import { card, chip, emptyState, loaded } from "../parts/blocks.ts";
import { button } from "../parts/button.ts";
import { chooseTheme, theme, THEMES } from "../parts/theme.ts";
import { redraw } from "../redraw.ts";

export const settingsResource = new Resource<{ settings: Setting[] }>();
/** What was typed and not saved, by key. */
const drafts = new Map<string, string>();

/** Fleet settings, and how this device shows the dashboard. */
export function settingsPage(): TemplateResult {
  settingsResource.show("api/config");
  return html`<div class="page-head">
      <h1>Settings</h1>
      <p>Changes take effect at once, for the whole fleet.</p>
    </div>
    <div class="stack">
      ${loaded(settingsResource, ({ settings }) => settingsForm(settings))}
      ${card(
        "Housekeeping",
        html`<p class="muted">
            Removes old logs and finished history beyond what the settings keep. It shows first what would go and what stays because another
            node still needs it.
          </p>
          <p class="card-actions">${button({ label: "See what would be removed", icon: "search", action: "cleanup", run: cleanup })}</p>`,
      )}
      ${card(
        "This device",
        html`<div class="setting-line">
            <div>
              <strong>Appearance</strong>
              <p class="muted small">Kept in this browser.</p>
            </div>
            <div class="tabs" role="group" aria-label="Appearance">
              ${THEMES.map(([key, word]) => html`<button type="button" aria-pressed=${theme() === key} @click=${() => chooseTheme(key)}>${word}</button>`)}
            </div>
          </div>
          ${
            csrfToken() === ""
              ? nothing
              : html`<div class="setting-line">
                  <div>
                    <strong>Login</strong>
                    <p class="muted small">Ends the session on this device.</p>
                  </div>
                  ${button({ label: "Log out", action: "log out", run: logOut })}
                </div>`
          }`,
      )}
    </div>`;
}

/** Settings by what they are about; what is new and fits nowhere stands with the first. */
const GROUPS: readonly { title: string; has: RegExp }[] = [
  { title: "Catch-up", has: /./ },
  { title: "Checks and clean-up", has: /^(canary|verify|cleanup|max_catchup_days|initial_lookback_days)/ },
  { title: "Alerts", has: /^(alert|smtp)/ },
];

function settingsForm(settings: readonly Setting[]): TemplateResult {
  if (settings.length === 0) return card("Settings", emptyState("settings", "There are no settings.", ""));
  const changed = settings.filter(({ key, value }) => drafts.has(key) && drafts.get(key) !== value);
  const groupOf = ({ key }: Setting) => GROUPS.findLast(({ has }) => has.test(key));
  return html`<form class="stack" @submit=${save}>
    ${GROUPS.filter((group) => settings.some((setting) => groupOf(setting) === group)).map((group) =>
      card(
        group.title,
        html`<ul class="settings">
          ${settings.filter((setting) => groupOf(setting) === group).map(settingLine)}
        </ul>`,
        { flush: true },
      ),
    )}
    ${
      changed.length === 0
        ? nothing
        : html`<div class="save-bar">
            <span>${counted(changed.length, "unsaved change")}</span>${button({ label: "Discard", run: discard })}<button
              type="submit"
              class="button main"
            >
              Save
            </button>
          </div>`
    }
  </form>`;
}

function settingLine(setting: Setting): TemplateResult {
  const { key, value, value_type: type, description, is_default: isDefault, default: usual, secret } = setting;
  const id = `setting-${key}`;
  const draft = drafts.get(key) ?? value;
  const edit = (text: string) => {
    drafts.set(key, text);
    redraw();
  };
  const control =
    type === "boolean"
      ? html`<input
          id=${id}
          type="checkbox"
          role="switch"
          class="switch"
          aria-describedby="${id}-hint"
          .checked=${bound(draft === "true")}
          @change=${(event: Event) => edit(String((event.target as HTMLInputElement).checked))}
        />`
      : html`<input
          id=${id}
          class="input"
          type=${secret ? "password" : type === "string" ? "text" : "number"}
          step=${type === "number" ? "any" : nothing}
          aria-describedby="${id}-hint"
          autocomplete="off"
          placeholder=${secret && !isDefault ? "set, not shown" : nothing}
          .value=${bound(draft)}
          @input=${(event: Event) => edit((event.target as HTMLInputElement).value)}
        />`;
  return html`<li class="setting-line">
    <div>
      <label for=${id}><strong>${words(key)}</strong></label>
      ${isDefault || value === usual ? nothing : chip("busy", "settings", "changed")}
      <p class="muted small" id="${id}-hint">${description}</p>
      <p class="muted small"><code>${key}</code>${usual === "" ? nothing : html` · default ${usual}`}</p>
    </div>
    <div class="setting-control ${type === "string" ? "wide" : ""}">
      ${control}<span class="muted small">${readable(setting, draft)}</span>
    </div>
  </li>`;
}

const SPELLINGS: readonly (readonly [RegExp, string])[] = [
  [/catchup/g, "catch-up"],
  [/offpeak/g, "off-peak"],
  [/\burl\b/g, "URL"],
  [/\bsmtp\b/gi, "SMTP"],
  [/\bkib\b/g, "KiB"],
];

function words(key: string): string {
  const text = SPELLINGS.reduce((said, [from, to]) => said.replace(from, to), key.replaceAll("_", " "));
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** Seconds as a person says them: 86400 is "1 day". */
function readable({ key, value_type: type, description }: Setting, text: string): string {
  const seconds = type === "integer" && (description.startsWith("Seconds") || key.endsWith("_seconds")) ? Number(text) : 0;
  return seconds >= 100 ? `= ${duration(seconds)}` : "";
}

function discard(): void {
  drafts.clear();
  redraw();
}

function save(event: SubmitEvent): void {
  event.preventDefault();
  const known = settingsResource.value?.settings ?? [];
  const wanted = Object.fromEntries(
    known.filter(({ key, value }) => drafts.has(key) && drafts.get(key) !== value).map(({ key }) => [key, drafts.get(key)]),
  );
  void act(
    "save settings",
    () => api<{ settings: Setting[] }>("PUT", "api/config", wanted),
    (answer) => {
      settingsResource.value = answer;
      drafts.clear();
      return "Saved.";
    },
  );
}

function logOut(): void {
  void act(
    "log out",
    () => api("POST", "logout"),
    () => {
      login.needed = true;
      return "";
    },
  );
}

import { api, login, Problem } from "../api.ts";
import { html, nothing, type TemplateResult } from "../lit.ts";
import { icon } from "../parts/icons.ts";
import { redraw } from "../redraw.ts";

let problem: Problem | null = null;
let works = false;

/** Asks who is there. Shown whenever the coordinator refuses to answer without a login. */
export function loginPage(): TemplateResult {
  return html`<main id="main" class="login" tabindex="-1">
    <form class="card" @submit=${submit}>
      <p class="brand"><img src="dashboard/icon.svg" alt="" width="26" height="26" />scoutsync</p>
      <h1>Log in</h1>
      <label class="field"
        ><span>Name</span><input class="input" name="name" required autocomplete="username" autocapitalize="none" autofocus
      /></label>
      <label class="field"
        ><span>Password</span><input class="input" type="password" name="password" required autocomplete="current-password"
      /></label>
      ${problem === null ? nothing : html`<p class="problem" role="alert">${icon("warn")}<span>${problem.message} ${problem.action}</span></p>`}
      <button type="submit" class="button main" ?disabled=${works}>Log in</button>
    </form>
  </main>`;
}

async function submit(event: SubmitEvent): Promise<void> {
  event.preventDefault();
  const given = new FormData(event.target as HTMLFormElement);
  works = true;
  problem = null;
  redraw();
  try {
    await api("POST", "login", { name: given.get("name"), password: given.get("password") });
    login.needed = false;
    location.reload();
  } catch (error) {
    problem = error instanceof Problem ? error : new Problem(String(error), "", 0);
  } finally {
    works = false;
    redraw();
  }
}

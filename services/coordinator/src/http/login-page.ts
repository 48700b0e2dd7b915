/** Where people log in. */
export const LOGIN_PATH = "/login";

/** The login form; works without scripts. `problem` says why the last try failed. */
export function loginPage(problem: string): string {
  const alert = problem === "" ? "" : `<p role="alert">${escaped(problem)}</p>`;
  return `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>scoutsync: log in</title>
<style>
  :root { color-scheme: light dark; font: 15px/1.5 Inter, system-ui, sans-serif; background: light-dark(#f5f6f9, #0d1014) }
  body { margin: 14vh auto; max-width: 22rem; padding: 0 1rem }
  main { padding: 1.5rem; border: 1px solid light-dark(#dfe2e8, #2a2f38); border-radius: 12px; background: light-dark(#fff, #161a20) }
  h1 { margin: 0; font-size: 1.35rem }
  label { display: block; margin: 1rem 0; font-weight: 600 }
  input { box-sizing: border-box; display: block; width: 100%; margin-top: .3rem; padding: .6rem; border: 1px solid light-dark(#8a909c, #6b7280); border-radius: 8px; font: inherit; font-weight: 400; background: light-dark(#fff, #0d1014) }
  button { width: 100%; min-height: 2.75rem; border: 0; border-radius: 8px; font: inherit; font-weight: 600; color: #fff; background: #3450d1 }
  input:focus-visible, button:focus-visible { outline: 2px solid light-dark(#3450d1, #9fb0ff); outline-offset: 2px }
  [role=alert] { border-left: .3rem solid #c33; padding-left: .7rem }
</style>
<main>
<h1>scoutsync</h1>
${alert}
<form method="post" action="${LOGIN_PATH}">
<label>Name <input name="name" autocomplete="username" autocapitalize="none" required autofocus></label>
<label>Password <input name="password" type="password" autocomplete="current-password" required></label>
<button>Log in</button>
</form>
</main>
</html>
`;
}

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

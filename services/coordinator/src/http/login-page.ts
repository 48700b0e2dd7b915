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
  :root { color-scheme: light dark; font-family: system-ui, sans-serif }
  body { margin: 15vh auto; max-width: 20rem; padding: 0 1rem }
  label { display: block; margin: 1rem 0 }
  input { box-sizing: border-box; display: block; font: inherit; margin-top: .3rem; padding: .6rem; width: 100% }
  button { font: inherit; min-height: 2.75rem; padding: .6rem 1.2rem; width: 100% }
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

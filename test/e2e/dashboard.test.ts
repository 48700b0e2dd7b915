import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import {
  accessibilityProblems,
  boundOf,
  createDatabase,
  findChromium,
  Fleet,
  select,
  selectOne,
  startBrowser,
  startProxy,
  startWriter,
  until,
  type FleetCoordinator,
  type FleetNode,
  type Proxy,
  type Writer,
} from "@scoutsync/testkit";
import type { Browser, Locator, Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";

const SCHEMA = `
  CREATE TABLE match(name TEXT PRIMARY KEY, notes TEXT);
  CREATE TABLE user(id TEXT PRIMARY KEY, email TEXT UNIQUE);
  CREATE TABLE photo(id INTEGER PRIMARY KEY, body TEXT);
  INSERT INTO match VALUES ('q1', 'draft');`;
const DESK = { width: 1280, height: 800 };
const PHONE = { width: 390, height: 844 };
const ROWS_PER_WRITE = 250;
const WRITES = 8;
/** More than may go at once without a question. */
const FILES = 30;
/** Their folder goes in one step: of files that go one by one a node may see the first ones go by themselves. */
const ROBOTS = "robots";

const program = findChromium();

// What a person does at the screen, step by step, in a real browser; what the databases hold is read by a SQLite of our own.
describe.skipIf(program === null)("the dashboard (skipped where no Chromium is installed)", () => {
  let fleet: Fleet;
  let coordinator: FleetCoordinator;
  let writer: Writer;
  let browser: Browser;
  let hub: FleetNode;
  let venue: FleetNode;
  let proxy: Proxy;
  let paths: { hub: string; venue: string };
  let desk: Page;
  let phone: Page;
  /** Rows that were written, in any attempt. */
  let photos = 0;
  /** Errors of any page: script errors, refused by the policy, failed requests. */
  const complaints: string[] = [];

  beforeAll(async () => {
    fleet = new Fleet("dashboard");
    writer = startWriter();
    paths = { hub: createDatabase(fleet.path("hub", "app.db"), SCHEMA), venue: createDatabase(fleet.path("venue", "app.db"), SCHEMA) };
    mkdirSync(join(uploads("hub"), ROBOTS));
    for (let i = 0; i < FILES; i++) writeFileSync(join(uploads("hub"), ROBOTS, `robot-${i}.txt`), String(i));
    [coordinator, hub, browser] = await Promise.all([
      fleet.privateRedis().then(({ url }) => fleet.coordinator({ redis: url })),
      fleet.node({ name: "hub", databases: { app: paths.hub }, flags: ["--files", `uploads=${uploads("hub")}`] }),
      startBrowser(program ?? ""),
    ]);
    [venue, proxy] = await Promise.all([
      fleet.node({
        name: "venue",
        databases: { app: paths.venue },
        coordinator: coordinator.address,
        flags: ["--files", `uploads=${uploads("venue")}`],
      }),
      startProxy(hub.address),
    ]);
    desk = await open(DESK, "light");
    phone = await open(PHONE, "dark");
  });
  afterAll(async () => {
    await browser?.close();
    await proxy?.stop();
    await writer?.stop();
    await fleet?.stop();
  });

  // One story: after a step that failed the others would only wait for what cannot come. The step itself may be tried once more.
  let failed = "";
  /** Steps begun so far, and steps that were tried once more: what each writes is its own. */
  let attempt = 0;
  beforeEach(async ({ task, skip }) => {
    attempt++;
    skip(failed !== "" && failed !== task.name, `"${failed}" failed`);
    if (failed !== task.name) return;
    // As it may have been left: a question open, syncing paused, a setting saved, the line held, a node away, or out of the fleet.
    proxy.release();
    if (!venue.process.running) await venue.restart();
    const headers = { "content-type": "application/json" };
    const tell = (method: string, path: string, body: object) =>
      fetch(`http://${coordinator.http}/api/${path}`, { method, headers, body: JSON.stringify(body) });
    await tell("POST", "jobs/resume", {});
    await tell("PUT", "config", { catchup_batch_size: null });
    await tell("POST", "nodes", { address: proxy.address });
    await tell("POST", "nodes/hub/resume", {});
    for (const page of [desk, phone]) await page.reload();
  });
  afterEach(async ({ task }) => {
    const state = task.result?.state;
    if (state === "pass") failed = "";
    if (state !== "fail") return;
    failed = task.name;
    await photograph(desk, "failed-desk");
    await photograph(phone, "failed-phone");
  });

  async function open(viewport: { width: number; height: number }, colorScheme: "light" | "dark"): Promise<Page> {
    const context = await browser.newContext({ viewport, colorScheme, hasTouch: viewport === PHONE, reducedMotion: "reduce" });
    const page = await context.newPage();
    page.setDefaultTimeout(boundOf(60_000));
    page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
    page.on("pageerror", (error) => complaints.push(String(error)));
    await page.goto(`http://${coordinator.http}/`);
    return page;
  }

  const go = async (page: Page, place: "Fleet" | "Review" | "Jobs" | "Logs" | "Settings") => {
    await page.getByRole("navigation", { name: "Main" }).getByRole("link", { name: place }).click();
    await page.getByRole("heading", { level: 1, name: place }).waitFor();
  };
  const row = (page: Page, name: string) =>
    page
      .getByRole("table", { name: /Nodes/ })
      .getByRole("row")
      .filter({ has: page.getByRole("link", { name, exact: true }) });
  const expectShown = (locator: Locator) => locator.first().waitFor();
  const write = (path: string, sql: string) => writer.write({ path, statements: [[sql, []]] });
  const uploads = (name: string) => dirname(fleet.path(name, "uploads", "any"));
  const notes = (path: string) => selectOne(path, "SELECT notes FROM match WHERE name = 'q1'");
  const captured = (path: string) => selectOne(path, "SELECT max(sequence) FROM _scoutsync_log");
  const vectorOf = async (name: string) => {
    const { nodes } = (await (await fetch(`http://${coordinator.http}/api/fleet`)).json()) as {
      nodes: { name: string; databases: { vector: string }[] }[];
    };
    return nodes.find((node) => node.name === name)?.databases[0]?.vector ?? "";
  };
  const toldEqual = async () => {
    const [one, other] = [await vectorOf("hub"), await vectorOf("venue")];
    return one === other && one !== "";
  };
  /** Nothing goes between the two any more: syncing has been paused, and what was under way is over. */
  const standsStill = () =>
    until(
      async () => {
        const { nodes } = (await (await fetch(`http://${coordinator.http}/api/fleet`)).json()) as { nodes: { session: object | null }[] };
        return nodes.every(({ session }) => session === null);
      },
      { what: "the last session to be over" },
    );
  /** For a person to look at: SCOUTSYNC_SCREENSHOTS=folder. */
  const photograph = async (page: Page, name: string) => {
    const folder = process.env["SCOUTSYNC_SCREENSHOTS"];
    if (folder === undefined) return;
    mkdirSync(folder, { recursive: true });
    await page.screenshot({ path: join(folder, `${name}.png`), fullPage: true });
  };

  test("a node is added by its address; a wrong one is told where it was typed", async () => {
    await go(desk, "Fleet");
    await expectShown(row(desk, "venue").getByText("Up to date"));
    await desk.getByRole("button", { name: "Add node" }).click();
    const dialog = desk.getByRole("dialog", { name: "Add a node" });
    await dialog.getByLabel("Address").fill("nowhere");
    await dialog.getByRole("button", { name: "Add node" }).click();
    await expectShown(dialog.getByRole("alert"));
    await dialog.getByLabel("Address").fill(proxy.address);
    await dialog.getByRole("button", { name: "Add node" }).click();
    await expectShown(desk.getByRole("heading", { level: 1, name: "hub" }));
    await go(desk, "Fleet");
    await expectShown(row(desk, "hub").getByText("Up to date"));
    await expectShown(desk.getByText("All 2 nodes are equal"));
    await expectShown(phone.getByText("All 2 nodes are equal"));
  });

  test("a node that is away is shown with what it misses and why; its catch-up is watched as it goes on", async () => {
    await go(desk, "Settings");
    await desk.getByLabel("Catch-up batch size").fill(String(ROWS_PER_WRITE));
    await desk.getByRole("button", { name: "Save" }).click();
    await expectShown(desk.getByText("Saved."));
    await go(desk, "Fleet");
    // What was in both files before is told with the first write: it is not part of what is counted below.
    await write(paths.hub, "INSERT OR IGNORE INTO user VALUES ('kim', 'kim@example.org'), ('lee', 'lee@example.org')");
    await write(paths.hub, "INSERT OR IGNORE INTO match VALUES ('q2', 'seen')");
    await until(() => selectOne(paths.venue, "SELECT notes FROM match WHERE name = 'q2'"), { what: "the first write on the other node" });
    await until(toldEqual, { what: "the coordinator having heard of it from both" });
    await venue.kill();
    for (let i = 0; i < WRITES; i++) {
      const statements = Array.from({ length: ROWS_PER_WRITE }, (): [string, string[]] => [
        "INSERT INTO photo(body) VALUES (?)",
        [randomBytes(300).toString("base64")],
      ]);
      const before = captured(paths.hub);
      await writer.write({ path: paths.hub, statements });
      photos += ROWS_PER_WRITE;
      // Writes that are captured together travel in one batch, and there would be nothing to watch.
      await until(() => captured(paths.hub) !== before, { what: "the node having captured the write" });
    }
    const total = ROWS_PER_WRITE * WRITES;
    const missing = total.toLocaleString("en-GB");
    await expectShown(desk.getByText("venue does not answer"));
    for (const page of [desk, phone]) {
      await expectShown(row(page, "venue").getByText("Offline"));
      await expectShown(page.getByText(`It misses ${missing} changes`));
      await expectShown(page.getByText("The machine is on, but the node on it does not run: start it there."));
    }
    await photograph(desk, "node-away-desk");
    await photograph(phone, "node-away-phone");

    await row(desk, "venue").getByRole("link", { name: "venue", exact: true }).click();
    await desk.getByRole("button", { name: "Look at the changes" }).click();
    const missed = desk.getByRole("table", { name: /Missing changes/ });
    await expectShown(missed.getByText("photo"));
    expect(await missed.getByRole("row").count()).toBeGreaterThan(10);
    await photograph(desk, "missing-desk");
    await go(desk, "Fleet");

    // Half of it goes through, and then the line stands still for as long as a person looks.
    proxy.holdAfter(400_000);
    await venue.restart();
    await expectShown(row(desk, "venue").getByText("Syncing"));
    const progress = row(desk, "venue").getByRole("progressbar", {
      name: new RegExp(`receiving from hub \\(app\\), [1-9][\\d,]* of ${missing} changes`),
    });
    await progress.waitFor();
    await photograph(desk, "catching-up-desk");
    proxy.release();
    for (const page of [desk, phone]) await expectShown(page.getByText("All 2 nodes are equal"));
    expect(selectOne(paths.venue, "SELECT count(*) FROM photo")).toBe(BigInt(photos));

    await row(desk, "venue").getByRole("link", { name: "venue" }).click();
    await expectShown(desk.getByRole("table", { name: /Recent sessions/ }).getByText("Equal and verified"));
    await photograph(desk, "node-desk");
  });

  test("a conflict is decided on a phone, by touch, and both databases hold what was chosen", async () => {
    await go(phone, "Fleet");
    await phone.getByRole("button", { name: "Pause all" }).tap();
    await expectShown(phone.getByRole("dialog").getByText("No catch-up starts until somebody resumes"));
    await phone.getByRole("dialog").getByRole("button", { name: "Pause all" }).tap();
    await expectShown(phone.getByText("Syncing is paused for the whole fleet"));
    await standsStill();
    const [broken, tipped] = [`blue robot ${attempt} broke its arm`, `blue robot ${attempt} <b>tipped</b> over`];
    await write(paths.hub, `UPDATE match SET notes = '${broken}' WHERE name = 'q1'`);
    await write(paths.venue, `UPDATE match SET notes = '${tipped}' WHERE name = 'q1'`);
    await phone.getByRole("button", { name: "Resume syncing" }).tap();
    await go(phone, "Review");
    const entry = phone.getByRole("article", { name: /Conflict in app · match q1/ });
    await entry.waitFor();
    // One node may have it of the other before that one has heard of it.
    await until(() => notes(paths.hub) === notes(paths.venue), { what: "the same note in both databases" });
    await expectShown(entry.getByText(tipped));
    const [now, aside] = [entry.getByRole("region", { name: "In the table now" }), entry.getByRole("region", { name: "Kept aside" })];
    const winner = String(notes(paths.hub));
    // Text of a database stays text: the tags are read, not obeyed.
    expect(await now.innerText()).toContain(winner);
    expect(await entry.innerText()).toContain("<b>tipped</b>");
    await photograph(phone, "conflict-phone");
    await aside.getByRole("button", { name: "Use this instead" }).tap();
    await phone.getByText("Nothing waits for a decision.").waitFor();
    const chosen = winner === tipped ? broken : tipped;
    for (const path of Object.values(paths)) await until(() => notes(path) === chosen, { what: `the chosen note in ${path}` });
  });

  test("another value is written for a conflict by keyboard alone", async () => {
    await go(desk, "Jobs");
    await desk.getByRole("button", { name: "Pause all" }).click();
    await desk.getByRole("dialog").getByRole("button", { name: "Pause all" }).click();
    await expectShown(desk.getByText("Syncing is paused.", { exact: true }));
    await standsStill();
    await write(paths.hub, `UPDATE match SET notes = 'seen by hub, ${attempt}' WHERE name = 'q2'`);
    await write(paths.venue, `UPDATE match SET notes = 'seen by venue, ${attempt}' WHERE name = 'q2'`);
    await desk.getByRole("button", { name: "Resume syncing" }).click();
    await go(desk, "Review");
    const entry = desk.getByRole("article", { name: /Conflict in app · match q2/ });
    await entry.waitFor();
    await photograph(desk, "review-desk");
    const other = entry.getByRole("button", { name: "Write another value…" });
    for (let i = 0; i < 60 && !(await other.evaluate((element) => element === element.ownerDocument.activeElement)); i++) {
      await desk.keyboard.press("Tab");
    }
    await desk.keyboard.press("Enter");
    await expectShown(desk.getByRole("dialog"));
    // Into the field, and what was in it is replaced.
    const field = desk.getByRole("textbox", { name: "notes" });
    while (!(await field.evaluate((element) => element === element.ownerDocument.activeElement))) {
      await desk.keyboard.press("Tab");
    }
    await desk.keyboard.press("Control+A");
    await desk.keyboard.type("seen by both");
    await desk.keyboard.press("Enter");
    await entry.waitFor({ state: "detached" });
    for (const path of Object.values(paths)) {
      await until(() => selectOne(path, "SELECT notes FROM match WHERE name = 'q2'") === "seen by both", { what: `the value in ${path}` });
    }
  });

  test("a row that a constraint keeps out is shown with the reason, and given another value on a desk and on a phone", async () => {
    const jobs = (what: "pause" | "resume") => fetch(`http://${coordinator.http}/api/jobs/${what}`, { method: "POST" });
    const users = (path: string) => select(path, "SELECT id, email FROM user ORDER BY id");
    const heldBy = (email: string) => String(selectOne(paths.hub, `SELECT id FROM user WHERE email = '${email}'`));
    // One that an attempt before left out comes back where what is in its way has another value.
    await write(paths.hub, `UPDATE user SET email = id || '-${attempt}@example.org'`);
    const areThere = () => users(paths.hub).length === 2 && JSON.stringify(users(paths.hub)) === JSON.stringify(users(paths.venue));
    for (const [page, size] of [
      [desk, "desk"],
      [phone, "phone"],
    ] as const) {
      // The same value under UNIQUE, given to two rows that both nodes have: one of them cannot stay in its table.
      const taken = `both-${size}-${attempt}@example.org`;
      await until(async () => areThere() && (await toldEqual()), { what: "the coordinator having heard of both rows from both" });
      await jobs("pause");
      await standsStill();
      await write(paths.hub, `UPDATE user SET email = '${taken}' WHERE id = 'kim'`);
      await write(paths.venue, `UPDATE user SET email = '${taken}' WHERE id = 'lee'`);
      await jobs("resume");
      await go(page, "Review");
      const parked = page.getByRole("article", { name: /Parked row in app · user/ }).filter({ hasText: taken });
      await expectShown(parked);
      await photograph(page, `parked-${size}`);
      const inTheWay = heldBy(taken);
      await parked.getByRole("button", { name: "Change the row…" }).click();
      const dialog = page.getByRole("dialog", { name: "Change the row of user" });
      await expectShown(dialog.getByText("Change what keeps it out of its table"));
      const free = `${size}-${attempt}@example.org`;
      await dialog.getByLabel("email").fill(free);
      expect(await accessibilityProblems(page), `dialog of a parked row, ${size}`).toEqual([]);
      await photograph(page, `parked-dialog-${size}`);
      await dialog.getByRole("button", { name: "Write" }).click();
      await dialog.waitFor({ state: "detached" });
      await page.getByText("Nothing waits for a decision.").waitFor();
      const freed = inTheWay === "kim" ? "lee" : "kim";
      const expected = [
        { id: inTheWay, email: taken },
        { id: freed, email: free },
      ].toSorted((one, other) => (one.id < other.id ? -1 : 1));
      for (const path of Object.values(paths)) {
        await until(() => JSON.stringify(users(path)) === JSON.stringify(expected), { what: `both rows in ${path}` });
      }
    }
  });

  test("a mass delete, files gone at once and a table that one lacks are on the fleet page with what to do, and are decided", async () => {
    const files = (name: string) => {
      const folder = join(uploads(name), ROBOTS);
      return existsSync(folder) ? readdirSync(folder).filter((file) => file.startsWith("robot-")) : [];
    };
    await until(() => files("venue").length === FILES, { what: "the files on the other node" });
    const before = BigInt(photos);
    const late = `late_${attempt}`;
    await write(paths.hub, `CREATE TABLE ${late}(id TEXT PRIMARY KEY)`);
    await write(paths.hub, `INSERT INTO ${late} VALUES ('migrated here first')`);
    await write(paths.hub, "DELETE FROM photo WHERE id % 100 <> 0");
    // Gone already where an attempt before came no further.
    if (files("hub").length > 0) renameSync(join(uploads("hub"), ROBOTS), fleet.path("hub", `taken-away-${attempt}`));
    // This node was added by its address and is asked now and then.
    const isHeld = async () => {
      const { nodes } = (await (await fetch(`http://${coordinator.http}/api/fleet`)).json()) as {
        nodes: { review_counts: { quarantine: number; file: number; schema: number } }[];
      };
      const sum = (kind: "quarantine" | "file" | "schema") => nodes.reduce((total, node) => total + node.review_counts[kind], 0);
      return sum("quarantine") > 0 && sum("file") > 0 && sum("schema") > 0;
    };
    await until(isHeld, { what: "the coordinator having heard of all three", withinMs: 60_000 });
    for (const [page, size] of [
      [desk, "desk"],
      [phone, "phone"],
    ] as const) {
      await go(page, "Fleet");
      const needs = page.locator(".concerns");
      for (const text of [
        "A mass delete on hub is kept back",
        /3[01] files of uploads are gone on hub/,
        "Say whether they should come back, or go everywhere.",
        "Say whether the rows should come back, or go everywhere.",
        "venue has no table or column yet for some rows",
        "Run the migration of your application there, too; then they are put in by themselves.",
      ])
        await expectShown(needs.getByText(text));
      expect(await accessibilityProblems(page), `what needs attention, ${size}`).toEqual([]);
      await photograph(page, `held-${size}`);
    }
    await desk.locator(".concerns").getByText("A mass delete on hub is kept back").click();
    const rows = desk.getByRole("article", { name: /Mass delete kept back in app · photo/ });
    await rows.getByRole("button", { name: "Delete everywhere…" }).click();
    await expectShown(desk.getByRole("dialog").getByText("every other node removes these rows, too"));
    await desk.getByRole("dialog").getByRole("button", { name: "Cancel" }).click();
    await photograph(desk, "held-review-desk");
    await rows.getByRole("button", { name: "Put the rows back" }).click();
    await rows.waitFor({ state: "detached" });
    await until(() => selectOne(paths.hub, "SELECT count(*) FROM photo") === before, { what: "the rows in their table again" });
    const gone = desk.getByRole("article", { name: /Files are missing in files · uploads/ });
    await gone.getByRole("button", { name: "Fetch the files again" }).click();
    await gone.waitFor({ state: "detached" });
    await until(() => files("hub").length === FILES, { what: "the files in their folder again" });
    expect([selectOne(paths.venue, "SELECT count(*) FROM photo"), files("venue").length]).toEqual([before, FILES]);
    await write(paths.venue, `CREATE TABLE ${late}(id TEXT PRIMARY KEY)`);
    await until(() => selectOne(paths.venue, `SELECT id FROM ${late}`), { what: "what was held, in its table" });
    for (const page of [desk, phone]) {
      await go(page, "Fleet");
      await page.getByText("Nothing needs you.").waitFor();
    }
  });

  test("every page passes the accessibility check, and none broke a rule of its own policy", async () => {
    for (const [page, size, scheme] of [
      [desk, "desk", "light"],
      [phone, "phone", "dark"],
    ] as const) {
      for (const place of ["Review", "Jobs", "Logs", "Settings", "Fleet"] as const) {
        await go(page, place);
        await until(async () => (await page.getByText("Loading…").count()) === 0, { what: `all of ${place} on the ${size}` });
        expect(await accessibilityProblems(page), `${place}, ${size}, ${scheme}`).toEqual([]);
        await photograph(page, `${place.toLowerCase()}-${size}-${scheme}`);
        const beyond = await page.evaluate<number>("document.documentElement.scrollWidth - innerWidth");
        expect(beyond, `pixels by which ${place} is wider than the ${size}`).toBeLessThanOrEqual(0);
      }
      const other = scheme === "light" ? "dark" : "light";
      await page.emulateMedia({ colorScheme: other });
      expect(await accessibilityProblems(page), `Fleet, ${size}, ${other}`).toEqual([]);
      await row(page, "hub").getByRole("link", { name: "hub", exact: true }).click();
      await expectShown(page.getByRole("table", { name: /Recent sessions/ }));
      expect(await accessibilityProblems(page), `node, ${size}, ${other}`).toEqual([]);
      await photograph(page, `node-${size}-${other}`);
      await page.getByRole("button", { name: "Remove" }).click();
      await expectShown(page.getByRole("dialog"));
      expect(await accessibilityProblems(page), `dialog, ${size}, ${other}`).toEqual([]);
      await photograph(page, `dialog-${size}-${other}`);
      await page.keyboard.press("Escape");
      await page.getByRole("dialog").waitFor({ state: "detached" });
      // Who works by keyboard goes on where the question came up.
      const remove = page.getByRole("button", { name: "Remove" });
      expect(await remove.evaluate((element) => element === element.ownerDocument.activeElement)).toBe(true);
    }
    // The one refusal that was provoked: the wrong address. On a busy machine a node or Redis may answer a question too late.
    expect(complaints.filter((text) => !/status of (400 \(Bad Request|50[34] )/.test(text))).toEqual([]);
  });

  test("a node is paused, taken in again, synced, and leaves the fleet only after a question that says what will happen", async () => {
    await go(phone, "Fleet");
    await row(phone, "hub").getByRole("link", { name: "hub", exact: true }).tap();
    await phone.getByRole("button", { name: "Pause" }).tap();
    await phone.getByRole("dialog", { name: "Pause hub?" }).getByRole("button", { name: "Pause node" }).tap();
    await expectShown(phone.locator(".page-head").getByText("Paused"));
    await phone.getByRole("button", { name: "Resume" }).tap();
    await expectShown(phone.locator(".page-head").getByText("Up to date"));
    await phone.getByRole("button", { name: "Sync now" }).tap();
    await expectShown(phone.getByText(/hub is up to date: /));
    await phone.getByRole("button", { name: "Remove" }).tap();
    const question = phone.getByRole("dialog", { name: "Remove hub from the fleet?" });
    await expectShown(question.getByText("Its database stays where it is with all its rows"));
    await question.getByRole("button", { name: "Cancel" }).tap();
    await question.waitFor({ state: "detached" });
    await phone.getByRole("button", { name: "Remove" }).tap();
    await question.getByRole("button", { name: "Remove node" }).tap();
    await phone.getByRole("heading", { level: 1, name: "Fleet" }).waitFor();
    await row(phone, "hub").waitFor({ state: "detached" });
    expect(selectOne(paths.hub, "SELECT count(*) FROM photo")).toBe(BigInt(photos));
  });
});

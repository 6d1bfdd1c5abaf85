// Clicks through the status page as a person would, in a real browser; `tests/it/browser.rs` starts it, plays the
// Functions host, and lets the run go on when this script says so. Usage: node status-page.mjs SETTINGS (JSON).
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import assert from "node:assert/strict";

const settings = JSON.parse(process.argv[2]);
const { chromium } = createRequire(settings.tools + "/")("playwright-core");
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
// Asks the test for something, and waits until it is done.
const ask = async (what) => {
  console.log(`ASK ${what}`);
  assert.equal((await lines.next()).value, "done");
};
const begun = Date.now();
const step = (what) => console.log(`ok   ${what} (${Date.now() - begun} ms)`);
const home = `${settings.origin}/api/ingest/status?code=${settings.readKey}`;
// What a name or a message would do if anything forgot to escape it.
const hostile = "<img src=x onerror=alert(1)>.txt";

const browser = await chromium.launch({
  executablePath: settings.chromium,
  headless: true,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
const problems = [];
const open = async (options) => {
  const context = await browser.newContext({ viewport: { width: 1180, height: 900 }, ...options });
  context.setDefaultTimeout(60_000);
  const page = await context.newPage();
  page.on("dialog", (dialog) => { problems.push(`a script of a name ran: ${dialog.message()}`); dialog.dismiss(); });
  page.on("pageerror", (error) => problems.push(`the page's script failed: ${error}`));
  page.on("console", (message) => { if (/Content Security Policy|Refused to/.test(message.text())) problems.push(message.text()); });
  page.on("request", (request) => { if (!request.url().startsWith(settings.origin)) problems.push(`asked elsewhere: ${request.url()}`); });
  return page;
};
const shot = async (page, name) => page.screenshot({ path: `${settings.pictures}/${name}.png`, fullPage: true });
const text = (page, selector) => page.locator(selector).innerText();

try {
  const page = await open({ colorScheme: "light" });

  for (const path of ["/api/ingest/runs", "/api/ingest/status", "/api/ingest/status/sources", `/api/ingest/runs?code=${encodeURIComponent(settings.startKey)}`, `/api/ingest?code=${settings.readKey}`]) {
    assert.equal((await page.request.get(settings.origin + path)).status(), 401, path);
  }
  step("without a key nothing is shown");

  assert.equal((await page.goto(home)).status(), 200);
  assert.equal(await text(page, "h1"), "Nothing has run yet");
  assert.match(await text(page, "ol.steps"), /Settings read[^]*2 sources[^]*blobferry check/);
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.textContent), "To the content");
  for (const field of await page.locator("select, input:not([type=hidden])").all()) {
    assert.ok(await field.evaluate((e) => e.labels.length === 1), "every field has its label");
  }
  await shot(page, "1-before-any-run");
  step("sources are there before any run, with the next one");

  await page.fill("#key", "guess");
  await page.click("button[value=start]");
  await page.locator("#start output", { hasText: "The key was refused." }).waitFor();
  assert.equal(await page.inputValue("#key"), "");
  step("a wrong key starts nothing");

  await page.fill("#key", settings.startKey);
  await page.click("button[value=plan]");
  await page.locator("#answer table").first().waitFor();
  const plan = await text(page, "#answer");
  assert.match(plan, /What a run would do now/);
  assert.match(plan, /big\.bin/);
  assert.ok(plan.includes(hostile), plan);
  assert.match(plan, /new[^]*acme\/big\.bin/);
  await shot(page, "2-plan");
  step("plan tells what a run would do, names as they are spelled");

  await page.fill("#key", settings.startKey);
  await page.click("button[value=start]");
  await ask("hangs");
  await page.locator("#answer", { hasText: /A run was started\s*Run \d{8}T\d{6}Z-[0-9a-f]{8}: running/ }).waitFor();
  await page.locator("#live[data-running=yes]").waitFor();
  assert.match(await text(page, "table.so tbody"), /Running/);
  assert.equal(await page.locator("td .word", { hasText: "running" }).count(), 1);
  await shot(page, "3-running");
  step("the page shows the run by itself");

  await page.fill("#key", settings.startKey);
  await page.click("button[value=plan]");
  await page.locator("#answer", { hasText: /is busy with what was asked for/ }).waitFor();
  step("no plan is made while a run has the logins");

  await page.fill("#key", settings.startKey);
  await page.click("button[value=start]");
  await page.locator("#answer", { hasText: /A run is at it already/ }).waitFor();
  step("a second start joins the run that goes on");

  await page.click("#answer a >> nth=0");
  await page.locator("h1", { hasText: /run of \d/ }).waitFor();
  assert.match(await text(page, "#live"), /running[^]*so far[^]*of .* fetched/);
  await shot(page, "4-run-going-on");
  await page.evaluate(() => { window.stillTheSame = true; });
  await ask("release");
  await page.locator("#live[data-running=no]").waitFor();
  assert.equal(await page.evaluate(() => window.stillTheSame), true, "the page was renewed, not loaded again");
  step("the run's page is live until the run has ended");

  const failed = page.locator("div[aria-label='Failed files of acme'] tbody tr");
  assert.equal(await failed.count(), 1);
  const cells = await failed.locator("td").allInnerTexts();
  assert.equal(cells[0], `/${hostile}`);
  assert.equal(cells[1], "permission");
  assert.ok(cells[2].split("\n").length >= 2 && cells[2].length > 40, "what happened, and a hint");
  assert.equal(cells[3], "not in the runs before");
  assert.match(await page.locator("svg.bar title").first().textContent(), /^listed \d+ = ingested \d+ \+ /);
  await shot(page, "5-run-ended");
  step("the failed file stands there with its class, what to do, and its past");

  const first = page.url();
  await page.goto(home);
  await page.fill("#key", settings.startKey);
  await page.selectOption("#source", "acme");
  await page.click("button[value=start]");
  await page.locator("#answer", { hasText: /A run was started/ }).waitFor();
  await page.locator("table.hi tbody tr:nth-child(2)").waitFor();
  await page.locator("table.hi tbody tr th.hi-w a").first().click();
  await page.locator("h1", { hasText: /run of \d/ }).waitFor();
  assert.notEqual(page.url(), first);
  const before = page.locator("td[data-label=before] a");
  assert.equal(await before.count(), 1);
  await before.click();
  await page.waitForURL(first);
  step("a second run tells in which run before the file failed too, and leads there");

  await page.goto(home);
  assert.match(await text(page, "h1"), /^1 of \d+ sources needs you$/);
  assert.match(await text(page, "ul.rows li:first-child"), /Failing[^]*acme[^]*Since [^]*2 runs[^]*What to do/);
  assert.match(await text(page, "table.so tbody tr:last-child"), /Fine/);
  assert.match(await text(page, "table.ar"), /big\.bin/);
  await page.fill(".find input[name=q]", "BIG");
  await page.click(".find button");
  assert.match(await text(page, "h1"), /big\.bin is here/);
  await page.click("table.se td.se-f a");
  assert.match(await text(page, "h1"), /big\.bin is here/);
  assert.match(await text(page, "#said"), /We have .*big\.bin: 3,145,728 bytes, MD5 [0-9a-f]{32}/);
  assert.match(await text(page, "ol.life"), /It arrived/);
  step("a file is found by a part of its name, and its page tells what to say to the sender");
  await page.goto(home);
  await shot(page, "6-list-light");
  for (const [name, options] of [["dark", { colorScheme: "dark" }], ["narrow", { colorScheme: "light", viewport: { width: 390, height: 800 } }]]) {
    const other = await open(options);
    await other.goto(home);
    await shot(other, `7-list-${name}`);
    assert.ok(await other.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), `${name}: nothing is wider than the window`);
    const colours = await other.evaluate(() => { const style = getComputedStyle(document.body); return [style.backgroundColor, style.color]; });
    assert.equal(colours[0] === "rgb(255, 255, 255)", name !== "dark", `${name}: ${colours}`);
    await other.goto(first);
    await shot(other, `8-run-${name}`);
    await other.context().close();
  }
  step("dark and light, wide and narrow");

  const plain = await open({ javaScriptEnabled: false });
  await plain.goto(home);
  assert.equal(await plain.locator("#start button:visible").count(), 1);
  await shot(plain, "9-without-javascript");
  await plain.fill("#key", settings.startKey);
  await plain.click("#start button:visible");
  assert.equal(new URL(plain.url()).pathname, "/api/ingest");
  await plain.selectOption("#source", "share");
  await plain.click("button[value=plan]");
  assert.match(await text(plain, "#live"), /share[^]*0 to fetch/);
  await plain.selectOption("#source", "share");
  await plain.click("button[value=start]");
  assert.match(await text(plain, "#live"), /A run was started|A run is at it already/);
  await shot(plain, "10-started-without-javascript");
  await plain.click("#live a >> nth=0");
  assert.match(await text(plain, "h1"), /run of \d/);
  await plain.click("text=All runs");
  await plain.locator("table.hi tbody tr:nth-child(2)").waitFor();
  step("without JavaScript: the desk plans and starts runs, links keep the key that reads");

  assert.deepEqual(problems, []);
  step("no script of a name ran, nothing was asked of another site, the policy stopped nothing of ours");
} catch (error) {
  console.log(`FAILED ${error.stack ?? error}`);
  problems.forEach((problem) => console.log(`problem: ${problem}`));
  for (const [index, page] of browser.contexts().flatMap((context) => context.pages()).entries()) {
    await shot(page, `failed-${index}`).catch(() => {});
    console.log(`page ${index}: ${await page.locator("body").innerText({ timeout: 1000 }).catch(() => "?")}`);
  }
  process.exitCode = 1;
} finally {
  await browser.close();
  process.stdin.destroy();
}

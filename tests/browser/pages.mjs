// Looks at each page of `blobferry serve --status` in a real browser: axe-core finds nothing, nothing is wider than the
// window, the first stop of the keyboard is the skip link, and a picture of each is taken.
// Usage: node pages.mjs SETTINGS (JSON): address, pages ({name: path}), chromium, tools, pictures, mutant (optional).
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";

const settings = JSON.parse(process.argv[2]);
const require = createRequire(settings.tools + "/");
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"];
const widths = { desktop: [1440, 900], mobile: [390, 844], narrow: [320, 640] };
// Nine hours ahead of UTC all year: a time that nobody has turned is seen.
const zone = "Asia/Tokyo";
const begun = Date.now();
const faults = [];
let looked = 0;

const browser = await chromium.launch({
  executablePath: settings.chromium,
  headless: true,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
try {
  for (const [width, [x, y]] of Object.entries(widths)) {
    for (const colorScheme of ["light", "dark"]) {
      // The page's policy lets no script of ours in: axe is put there past it, and only here.
      const context = await browser.newContext({ viewport: { width: x, height: y }, colorScheme, bypassCSP: true, timezoneId: zone });
      // A busy machine takes its time; whether the page answers is what is asked.
      context.setDefaultTimeout(180_000);
      const page = await context.newPage();
      for (const [name, path] of Object.entries(settings.pages)) {
        const what = `${name}-${width}-${colorScheme}`;
        const asked = [];
        const note = (request) => asked.push(request.url());
        page.on("request", note);
        page.removeAllListeners("pageerror");
        page.on("pageerror", (error) => faults.push(`${what}: the page's script failed: ${error}`));
        const [base, query] = settings.address.split("?");
        const [below, more] = path.split("?");
        const answer = await page.goto(`${base}${below}?${query}${more ? `&${more}` : ""}`);
        page.off("request", note);
        looked += 1;
        if (answer.status() !== 200) faults.push(`${what}: status ${answer.status()}`);
        if (asked.length !== 1) faults.push(`${what}: ${asked.length} requests: ${asked.slice(1)}`);
        const size = (await answer.body()).length;
        if (size > 100 << 10) faults.push(`${what}: ${size} bytes`);
        if (settings.mutant) await page.addStyleTag({ content: settings.mutant });
        const seen = await page.evaluate(() => ({ wide: document.documentElement.scrollWidth - innerWidth, heads: document.querySelectorAll("h1").length }));
        if (seen.wide > 0) faults.push(`${what}: ${seen.wide} pixels wider than the window`);
        if (seen.heads !== 1) faults.push(`${what}: ${seen.heads} headings of the first rank`);
        const clocks = await page.evaluate(() => [...document.querySelectorAll("time[datetime]")].map((e) => [e.dateTime, e.title, e.textContent]));
        if (clocks.length === 0) faults.push(`${what}: no time is told`);
        for (const [utc, title, text] of clocks) {
          const local = new Date(Date.parse(utc) + 9 * 3600_000).toISOString().slice(11, 16);
          if (!text.endsWith(local) || title !== `${utc.slice(0, 19).replace("T", " ")} UTC`) faults.push(`${what}: ${utc} is shown as \`${text}\`, \`${title}\``);
        }
        // What is no moment of its own, and still tells UTC: but for what is meant so.
        const texts = await page.evaluate(() => {
          const copy = document.querySelector("main").cloneNode(true);
          copy.querySelectorAll("[data-utc], pre, code").forEach((e) => e.remove());
          return [document.title, ...copy.textContent.matchAll(/.{0,40}\d:?\d\d UTC/g)].map(String);
        });
        for (const text of texts) if (/\d UTC/.test(text)) faults.push(`${what}: UTC among times of ${zone}: \`${text}\``);
        if (!(await page.locator("#zone").innerText()).includes(zone)) faults.push(`${what}: the zone is not named`);
        if (name === "overview") {
          const again = await page.evaluate(async () => {
            const first = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
            const headers = { Accept: "text/html", "If-None-Match": first.headers.get("etag") };
            return (await fetch(location.href, { headers, cache: "no-store" })).status;
          });
          if (again !== 304) faults.push(`${what}: the same page is sent again: ${again}`);
        }
        await page.screenshot({ path: `${settings.pictures}/${what}.png`, fullPage: true });
        await page.keyboard.press("Tab");
        const first = await page.evaluate(() => document.activeElement.textContent);
        if (first !== "To the content") faults.push(`${what}: the keyboard stops at \`${first}\` first`);
        await page.evaluate(axe);
        const { violations } = await page.evaluate((values) => window.axe.run(document, { runOnly: values }), tags);
        for (const found of violations) {
          const node = found.nodes[0];
          faults.push(`${what}: ${found.id} at ${found.nodes.length}: ${node.target} ${node.failureSummary.replace(/\s+/g, " ").slice(0, 200)}`);
        }
      }
      await context.close();
    }
  }
} finally {
  await browser.close();
}
faults.forEach((fault) => console.log(`FAULT ${fault}`));
console.log(`${looked} looks, ${faults.length} faults, ${Date.now() - begun} ms`);
process.exitCode = faults.length === 0 && looked > 0 ? 0 : 1;

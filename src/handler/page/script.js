(() => {
  "use strict";
  const live = () => document.getElementById("live");
  const pad = (number) => String(number).padStart(2, "0");
  const names = (kind) => (at) => at.toLocaleString("en-GB", { [kind]: "short" });
  const [weekday, month] = [names("weekday"), names("month")];
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const inUtc = new URLSearchParams(location.search).get("tz") === "UTC";
  // Today by the clock alone, other days with their date, other years with these.
  const told = (at) => {
    const [now, clock] = [new Date(), `${pad(at.getHours())}:${pad(at.getMinutes())}`];
    if (at.toDateString() === now.toDateString()) return clock;
    const year = at.getFullYear() === now.getFullYear() ? "" : ` ${at.getFullYear()}`;
    return `${weekday(at)} ${at.getDate()} ${month(at)}${year}, ${clock}`;
  };
  const times = (root) => {
    if (inUtc) return;
    root.querySelectorAll("time[datetime]").forEach((e) => {
      const at = new Date(e.dateTime);
      if (isNaN(at)) return;
      e.title ||= e.textContent;
      e.textContent = told(at);
    });
  };
  const foot = document.getElementById("zone");
  if (!inUtc && foot) {
    foot.textContent = `Times are those of ${zone}; each tells its UTC when pointed at.`;
    const utc = document.getElementById("utc");
    const address = new URL(location.href);
    address.searchParams.set("tz", "UTC");
    utc.href = address.pathname + address.search;
    utc.hidden = false;
  }
  // The title tells the same moment as the heading.
  const titled = () => {
    const head = document.querySelector("h1");
    if (!inUtc && head?.querySelector("time")) document.title = `${head.textContent.trim()} – blobferry`;
  };
  times(document);
  titled();
  let [asked, heard, tag] = [Date.now(), Date.now(), ""];
  // A page that nobody could renew says so; one that is as it was tells when that was seen.
  const asOf = (answer) => {
    const [line, now] = [live().querySelector(".asof"), Date.now()];
    if (answer) {
      heard = now;
      const [time, at] = [line?.querySelector("time"), new Date(answer.headers.get("date") ?? now)];
      if (time && !isNaN(at)) {
        time.dateTime = at.toISOString();
        time.title = at.toISOString().slice(0, 19).replace("T", " ") + " UTC";
        time.textContent = inUtc ? time.title : told(at);
      }
    } else if (line && now - heard >= 300000 && !line.dataset.old) {
      line.dataset.old = "yes";
      line.append(". It could not be renewed since.");
    }
  };
  const refresh = async () => {
    asked = Date.now();
    try {
      const headers = tag ? { Accept: "text/html", "If-None-Match": tag } : { Accept: "text/html" };
      const answer = await fetch(location.href, { headers, cache: "no-store" });
      if (answer.status === 304) return asOf(answer);
      if (!answer.ok) return asOf();
      heard = Date.now();
      tag = answer.headers.get("etag") ?? "";
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const next = page.getElementById("live");
      if (!next) return;
      const open = new Set([...live().querySelectorAll("details[open]")].map((e) => e.id));
      next.querySelectorAll("details").forEach((e) => { if (open.has(e.id)) e.open = true; });
      times(next);
      live().replaceWith(next);
      document.title = page.title;
      titled();
      copies();
    } catch { asOf(); /* The next look may succeed. */ }
  };
  const copies = () => document.querySelectorAll("[data-copy]").forEach((e) => {
    e.hidden = false;
    e.onclick = async () => {
      const text = document.getElementById(e.dataset.copy).textContent;
      try { await navigator.clipboard.writeText(text); e.textContent = "Copied"; } catch { e.hidden = true; }
    };
  });
  copies();
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.target.closest("input, select, textarea")) return;
    event.preventDefault();
    document.getElementById("find")?.focus();
  });
  setInterval(() => {
    const reading = document.hidden || live().contains(document.activeElement) || String(getSelection()) !== "";
    const wait = live().dataset.running === "yes" ? 5000 : 60000;
    if (!reading && Date.now() - asked >= wait) refresh();
  }, 1000);

  const form = document.getElementById("start");
  if (!form) return;
  const buttons = [...form.querySelectorAll(".scripted")];
  buttons.forEach((e) => { e.hidden = false; });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const [said, key] = [form.querySelector("output"), form.querySelector("#key")];
    const wish = event.submitter?.value ?? "start";
    // What a plain form would post; the key goes into a header, and into no address.
    const body = new URLSearchParams({ do: wish, source: form.querySelector("#source").value });
    if (form.elements.view) body.set("view", form.elements.view.value);
    const headers = { Accept: "text/html" };
    if (key.value) headers["x-functions-key"] = key.value;
    key.value = "";
    said.textContent = wish === "plan" ? "The sources are being looked at." : "The run is on its way.";
    buttons.forEach((e) => { e.disabled = true; });
    try {
      const answer = await fetch(form.dataset.to, { method: "POST", headers, body });
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const shown = page.getElementById("live");
      // The host's own refusals are no pages.
      said.textContent = shown ? "" : answer.status === 401 ? "The key was refused." : `That did not work (${answer.status}).`;
      shown?.removeAttribute("id");
      if (shown) times(shown);
      if (shown) document.getElementById("answer").replaceChildren(shown);
    } catch (error) {
      said.textContent = `No answer: ${error.message}`;
    }
    buttons.forEach((e) => { e.disabled = false; });
    refresh();
  });
})();

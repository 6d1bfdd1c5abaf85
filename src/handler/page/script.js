(() => {
  "use strict";
  const live = () => document.getElementById("live");
  let asked = Date.now();
  const refresh = async () => {
    asked = Date.now();
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const next = page.getElementById("live");
      if (!next) return;
      const open = new Set([...live().querySelectorAll("details[open]")].map((e) => e.id));
      next.querySelectorAll("details").forEach((e) => { if (open.has(e.id)) e.open = true; });
      live().replaceWith(next);
      document.title = page.title;
      copies();
    } catch { /* The next look may succeed. */ }
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
      if (shown) document.getElementById("answer").replaceChildren(shown);
    } catch (error) {
      said.textContent = `No answer: ${error.message}`;
    }
    buttons.forEach((e) => { e.disabled = false; });
    refresh();
  });
})();

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
    } catch { /* The next look may succeed. */ }
  };
  setInterval(() => {
    const reading = document.hidden || live().contains(document.activeElement) || String(getSelection()) !== "";
    const wait = live().dataset.running === "yes" ? 5000 : 60000;
    if (!reading && Date.now() - asked >= wait) refresh();
  }, 1000);

  const form = document.getElementById("start");
  if (!form) return;
  form.hidden = false;
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const [said, button] = [form.querySelector("output"), form.querySelector("button")];
    const source = form.elements.source.value;
    said.textContent = "The run is on its way.";
    button.disabled = true;
    setTimeout(refresh, 1000);
    try {
      const headers = { "Content-Type": "application/json" };
      if (form.elements.key.value) headers["x-functions-key"] = form.elements.key.value;
      const body = JSON.stringify(source ? { sources: [source] } : {});
      const answer = await fetch(form.dataset.to, { method: "POST", headers, body });
      const text = await answer.text();
      let told = {};
      try { told = JSON.parse(text); } catch { /* The host's own refusals have no body. */ }
      const words = [told.error, told.hint].filter(Boolean).join(": ");
      said.textContent = answer.ok ? `Run ${told.id}: ${told.status}` : answer.status === 401 ? "The key was refused." : `Not started (${answer.status}). ${words}`;
    } catch (error) {
      said.textContent = `No answer: ${error.message}`;
    }
    form.elements.key.value = "";
    button.disabled = false;
    refresh();
  });
})();

// What a browser adds to pages that work without it: times that pass, a log that follows, dialogs, links that
// carry a request. Everything else is htmx's attributes in the HTML.

document.documentElement.classList.add("js");

// Times: as view.py writes them.

const UNITS = [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]];

export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  for (const [unit, name, part, short] of UNITS) {
    if (whole >= unit) {
      const rest = Math.floor((whole % unit) / part);
      return `${Math.floor(whole / unit)} ${name}${rest ? ` ${rest} ${short}` : ""}`;
    }
  }
  return `${whole} s`;
}

function tick() {
  for (const time of document.querySelectorAll("time[data-age]")) {
    const text = duration((Date.now() - Date.parse(time.dateTime)) / 1000);
    if (time.textContent !== text) time.textContent = text;
  }
}

setInterval(() => { if (!document.hidden) tick(); }, 1000);

// Dialogs: a link to the page that asks, opened in place.

document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-dialog]");
  if (opener && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    document.getElementById(opener.dataset.dialog).showModal();
  }
  const closer = event.target.closest("dialog [data-close]");
  if (closer) {
    event.preventDefault();
    closer.closest("dialog").close();
  }
});

// What could not be fetched is asked for again: nothing else may happen that would ask for it.

document.addEventListener("htmx:sendError", (event) => htmx.trigger(event.detail.elt, "again"));
document.addEventListener("htmx:afterRequest", (event) => {
  if (event.detail.xhr.status >= 500) htmx.trigger(event.detail.elt, "again");
});

// An error is shown where pman says; one that a proxy before it, or a fault of it, answers is in no part's place.

document.addEventListener("htmx:beforeSwap", (event) => {
  const { xhr } = event.detail;
  if (xhr.status >= 400 && !xhr.getResponseHeader("HX-Reswap")) event.detail.shouldSwap = false;
});

// The log of a running job.

const KEPT = 200_000; // characters; a browser is slow with more in one element

async function follow(log) {
  const state = document.getElementById("log-state");
  const box = document.getElementById("follow");
  for (;;) {
    try {
      const response = await fetch(log.dataset.follow);
      if (response.status === 404 && response.headers.get("Content-Type") === "application/json") {
        state.textContent = "ended: the job is gone"; // by pman's word, and not by that of a proxy before it
        return;
      }
      if (!response.ok) throw new Error(String(response.status));
      state.textContent = "following";
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let text = ""; ;) {
        const { value, done } = await reader.read();
        if (done) break;
        text += value;
        if (text.length > KEPT) text = text.slice(text.indexOf("\n", text.length - KEPT) + 1);
        log.textContent = text;
        if (box?.checked) log.scrollTop = log.scrollHeight;
      }
      state.textContent = "complete";
      return;
    } catch (error) {
      state.textContent = `interrupted (${error.message}); trying again`;
      await new Promise((resolve) => setTimeout(resolve, 2000));
    }
  }
}

const log = document.getElementById("log");
if (log) {
  log.scrollTop = log.scrollHeight;
  if (log.dataset.follow) follow(log);
}

// A link that carries a request behind its #, which no browser sends. The values of env are left out of it,
// whatever their shape: they carry users' tokens, and a dry run masks them anyway.

const ENV = /^\s*env(ironment)?\s*$/i; // as translation/jsontext.py has it
const MASK = "********";

function masked(text) {
  return text.slice(0, text.indexOf("=") + 1) + MASK;
}

function hidden(value) {
  if (typeof value === "string") return masked(value);
  if (typeof value === "number") return MASK;
  if (Array.isArray(value)) return value.map(hidden);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => [name.includes("=") ? masked(name) : name, hidden(item)]));
}

function withoutValues(value) {
  if (Array.isArray(value)) return value.map(withoutValues);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => [name, ENV.test(name) ? hidden(item) : withoutValues(item)]));
}

// Of an object in JSON. What is none may hold values that cannot be told from the rest: null.
export function shareable(text) {
  try {
    const value = JSON.parse(text);
    const isObject = value !== null && typeof value === "object" && !Array.isArray(value);
    return isObject ? `${JSON.stringify(withoutValues(value), null, 2)}\n` : null;
  } catch {
    return null;
  }
}

async function through(bytes, stream) {
  return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(stream)).arrayBuffer());
}

async function packed(value) {
  const bytes = await through(new TextEncoder().encode(JSON.stringify(value)), new CompressionStream("deflate-raw"));
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}

async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
  return JSON.parse(new TextDecoder().decode(await through(bytes, new DecompressionStream("deflate-raw"))));
}

const form = document.getElementById("dryrun");

async function share() {
  const { request, engine, templates } = Object.fromEntries(new FormData(form));
  const told = document.getElementById("shared");
  const shown = shareable(request);
  if (shown === null) {
    told.textContent = "No link: this is no object in JSON, so the values of env could not be left out.";
    return;
  }
  history.replaceState(null, "", `#r=${await packed({ request: shown, engine, templates })}`);
  try {
    await navigator.clipboard.writeText(location.href);
    told.textContent = "Copied.";
  } catch {
    told.textContent = "It is in the address bar.";
  }
}

async function restore() {
  if (!location.hash.startsWith("#r=")) return;
  try {
    const { request, engine, templates } = await unpacked(location.hash.slice(3));
    form.elements.request.value = String(request);
    form.elements.engine.value = String(engine);
    form.elements.templates.value = String(templates);
    form.requestSubmit();
  } catch {
    document.getElementById("shared").textContent = "This link holds no request that can be read.";
  }
}

if (form) {
  document.getElementById("share").addEventListener("click", share);
  addEventListener("hashchange", restore);
  addEventListener("DOMContentLoaded", restore); // after htmx, which then takes the form
}

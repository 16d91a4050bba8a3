// Follows the engine: replaces the content of the page by server-sent events. Without it, every page works and is reloaded.
"use strict";

const SILENCE_MS = 8000; // the server sends an event each second
const TRY_AGAIN_MS = 2000;
const REOPEN_MS = 2500; // a stream that ended is open again by then

const banner = document.getElementById("banner");
const url = document.body.dataset.live;
let source = null;
let silence = null;
let losing = null;
let retry = null;
let full = false;
let lastSeen = "";

function say(text, link) {
  if (banner.textContent === text) return;
  banner.textContent = text;
  if (link) banner.append(" ", Object.assign(document.createElement("a"), { href: link.href, textContent: link.text }));
  banner.hidden = !text;
  document.body.classList.toggle("stale", Boolean(text));
}

// ---------------------------------------------------------------- replace the content, and keep the reader's place
function same(a, b) {
  return a.nodeType === b.nodeType && a.nodeName === b.nodeName && keyOf(a) === keyOf(b) && (a.id || "") === (b.id || "");
}

function keyOf(node) {
  return node.nodeType === 1 ? node.getAttribute("data-key") || "" : "";
}

function morph(from, to) {
  if (from.nodeType !== 1) {
    if (from.nodeValue !== to.nodeValue) from.nodeValue = to.nodeValue;
    return;
  }
  for (const { name } of [...from.attributes]) {
    if (!to.hasAttribute(name) && name !== "open") from.removeAttribute(name); // an opened detail stays open
  }
  for (const { name, value } of [...to.attributes]) {
    if (from.getAttribute(name) !== value) from.setAttribute(name, value);
  }
  morphChildren(from, to);
}

function morphChildren(from, to) {
  const keyed = new Map();
  for (const child of from.childNodes) if (keyOf(child)) keyed.set(keyOf(child), child);
  let cursor = from.firstChild;
  for (const wanted of [...to.childNodes]) {
    const found = keyOf(wanted) ? keyed.get(keyOf(wanted)) : cursor;
    if (found && same(found, wanted)) {
      if (found === cursor) cursor = cursor.nextSibling;
      else from.insertBefore(found, cursor);
      morph(found, wanted);
    } else {
      from.insertBefore(wanted, cursor);
    }
  }
  while (cursor) {
    const next = cursor.nextSibling;
    cursor.remove();
    cursor = next;
  }
}

function show(html) {
  const main = document.getElementById("main");
  const wanted = new DOMParser().parseFromString(html, "text/html").getElementById("main");
  if (main && wanted) morph(main, wanted);
  countSelected();
}

function seen(at) {
  full = false;
  clearTimeout(losing);
  losing = null;
  lastSeen = at;
  const time = document.querySelector("#as-of time");
  if (time) {
    time.dateTime = at;
    time.textContent = at.replace("T", " ").replace("Z", " UTC");
  }
  clearTimeout(silence);
  silence = setTimeout(lost, SILENCE_MS);
}

// ---------------------------------------------------------------- the stream
function lost() {
  losing = null;
  say(`The engine is not reachable. This page shows it as of ${lastSeen || "its loading"}; it tries again.`);
  if (!source || source.readyState !== EventSource.CONNECTING) again();
}

function again() {
  if (source) source.close();
  clearTimeout(retry);
  retry = setTimeout(follow, TRY_AGAIN_MS);
}

function follow() {
  source = new EventSource(url);
  clearTimeout(silence);
  silence = setTimeout(lost, SILENCE_MS); // also if the engine accepts the connection and says nothing
  source.addEventListener("page", (event) => {
    const { text, at } = JSON.parse(event.data);
    say("");
    show(text);
    seen(at);
  });
  source.addEventListener("pulse", (event) => {
    say("");
    seen(JSON.parse(event.data).at);
  });
  source.addEventListener("trouble", (event) => {
    const { text, at } = JSON.parse(event.data);
    seen(at);
    say(`This page cannot be updated: ${text}`);
  });
  source.addEventListener("full", (event) => {
    const { limit } = JSON.parse(event.data);
    full = true;
    clearTimeout(silence);
    clearTimeout(losing);
    losing = null;
    say(`This page does not follow the engine: ${limit} others do, the most at once. Reload it to see changes.`);
  });
  source.addEventListener("signed-out", () => {
    source.close();
    clearTimeout(silence);
    say("Your session has ended.", { href: location.href, text: "Sign in again" });
  });
  source.addEventListener("error", () => {
    if (full) return; // the browser tries again in a while
    // A stream that ends is opened again by the browser within a second; one that was refused is not.
    losing ??= setTimeout(lost, source.readyState === EventSource.CLOSED ? 0 : REOPEN_MS);
  });
}

if (url) {
  follow();
  addEventListener("pagehide", () => source && source.close());
  addEventListener("pageshow", (event) => event.persisted && follow());
}

// ---------------------------------------------------------------- several rows at once
function countSelected() {
  const label = document.getElementById("selected");
  const boxes = [...document.querySelectorAll("tbody input[type=checkbox]")];
  const chosen = boxes.filter((box) => box.checked).length;
  const all = document.getElementById("all");
  if (all) {
    all.checked = chosen > 0 && chosen === boxes.length;
    all.indeterminate = chosen > 0 && chosen < boxes.length;
  }
  if (label) label.textContent = chosen ? `With the ${chosen} selected:` : "With the selected:";
  for (const button of document.querySelectorAll(".toolbar[role=group] button")) button.disabled = chosen === 0;
}

document.addEventListener("change", (event) => {
  if (event.target.id === "all") {
    for (const box of document.querySelectorAll("tbody input[type=checkbox]")) box.checked = event.target.checked;
  }
  if (event.target.matches("input[type=checkbox]")) countSelected();
});
countSelected();

// ---------------------------------------------------------------- the result of a rehearsal
document.addEventListener("change", async (event) => {
  const result = document.getElementById("result");
  if (event.target.id !== "result-file" || !event.target.files[0] || !result) return;
  result.value = await event.target.files[0].text();
  result.form.requestSubmit();
});

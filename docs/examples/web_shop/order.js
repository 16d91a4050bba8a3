// Follows an order. After a lost connection the browser itself continues, behind the last event that it has.
"use strict";

const lines = document.getElementById("lines");
const connection = document.getElementById("connection");
const events = new EventSource(location.pathname.replace(/page$/, "progress"));
let isAgain = false;

events.addEventListener("chunk", (event) => {
  const { run, text } = JSON.parse(event.data).value;
  // The run began again: it shows the lines of its first try once more, or others.
  if (isAgain) for (const line of lines.querySelectorAll(`[data-run="${run}"]`)) line.remove();
  isAgain = false;
  const line = Object.assign(document.createElement("li"), { textContent: text });
  line.dataset.run = run;
  lines.append(line);
});
events.addEventListener("again", () => (isAgain = true));
events.addEventListener("end", () => events.close());
events.addEventListener("open", () => (connection.textContent = ""));
events.addEventListener("error", () => {
  connection.textContent = events.readyState === EventSource.CONNECTING ? "Connecting…" : "";
});

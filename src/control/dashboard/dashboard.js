// Shows /api/v1/status and asks again every few seconds. Text only ever enters the page as text, never as HTML.
"use strict";

const REFRESH_MS = 3000;
const TIMEOUT_MS = 8000;

/** An element with a class, and children that are elements or text. */
function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children.filter((child) => child !== null && child !== ""));
  return made;
}

function mark(kind, text) {
  return element("span", "mark " + kind, text);
}

function age(seconds) {
  seconds = Math.max(0, Math.floor(seconds));
  const minutes = Math.floor(seconds / 60), hours = Math.floor(seconds / 3600), days = Math.floor(seconds / 86400);
  if (days) return `${days}d ${hours % 24}h`;
  if (hours) return `${hours}h ${minutes % 60}m`;
  return minutes ? `${minutes}m` : `${seconds}s`;
}

// Ages are counted to the server's clock: the browser's may be wrong.
function since(status, timestamp) {
  const now = Date.parse(status.started) / 1000 + status.uptime_seconds;
  return now - Date.parse(timestamp) / 1000;
}

function table(columns, rows) {
  const head = element("tr", "", ...columns.map((column) => element("th", "", column)));
  const body = rows.map((cells) => element("tr", "", ...cells.map((cell) => element("td", "", ...[cell].flat()))));
  return element("table", "", element("thead", "", head), element("tbody", "", ...body));
}

function healthMark(status, pool, address) {
  const kind = { up: "good", down: "bad" }[address.health] ?? "care";
  const for_ = address.since && pool.check ? " " + age(since(status, address.since)) : "";
  return [
    mark(kind, address.health + for_),
    address.restored ? element("span", "faint", " before the restart") : "",
    address.stale ? mark("care", "stale") : "",
    pool.check ? "" : element("span", "faint", " no check"),
  ];
}

function adminMark(status, realserver) {
  if (realserver.admin === "ready") return "ready";
  const left = realserver.until ? " for " + age(-since(status, realserver.until)) : "";
  return mark("care", realserver.admin + left);
}

function traffic(pool, realserver) {
  if (realserver.eligible) return "yes";
  return pool.is_degraded && realserver.admin === "ready" ? mark("care", "fail-open") : "no";
}

function why(realserver, address, isFirst) {
  const operator = isFirst ? [realserver.by, realserver.reason].filter(Boolean).join(": ") : "";
  const probe = address.last_error && address.health === "up" ? "last probe failed: " + address.last_error : address.last_error;
  const certificate = address.certificate_ending ? "certificate ends " + address.certificate_ends.slice(0, 10) : "";
  return [operator, probe, certificate].filter(Boolean).join("; ");
}

function poolCard(status, pool) {
  const state = pool.is_degraded ? mark("bad", "degraded: nobody is eligible") : pool.is_failed ? mark("bad", "failed") : mark("good", "ok");
  const about = pool.policy + (pool.members.length ? " of " + pool.members.join(", ") : "") + (pool.check ? ", check " + pool.check : "");
  const rows = pool.realservers.flatMap((realserver) =>
    realserver.addresses.map((address, index) => [
      index ? "" : realserver.name,
      address.address + (realserver.port ? " port " + realserver.port : ""),
      index ? "" : realserver.weight + (realserver.ramp_percent ? " (" + realserver.ramp_percent + "%)" : ""),
      healthMark(status, pool, address),
      index ? "" : adminMark(status, realserver),
      index ? "" : traffic(pool, realserver),
      why(realserver, address, !index),
    ]));
  return element("div", "card pool",
    element("div", "title", element("h3", "", pool.name), state, element("span", "faint", about)),
    rows.length ? table(["realserver", "address", "weight", "health", "set", "traffic", "why"], rows) : "");
}

function zoneRow(status, zone) {
  return [
    [zone.apex, zone.error ? element("div", "error", zone.error) : ""],
    zone.serial === null ? mark("bad", "not loaded") : String(zone.serial),
    String(zone.records),
    zone.since ? age(since(status, zone.since)) + " ago" : "never",
    zone.path,
  ];
}

function nothing(text) {
  return element("p", "faint", text);
}

function show(status) {
  const fill = (id, ...children) => document.getElementById(id).replaceChildren(...children);
  document.getElementById("summary").textContent =
    `${status.version}, up ${age(status.uptime_seconds)}, generation ${status.generation}`;
  const reload = document.getElementById("reload");
  reload.hidden = status.reload_error === null;
  reload.textContent = status.reload_error === null ? "" :
    `The last reload failed ${age(since(status, status.reload_error.at))} ago; what was in force before it still is.\n${status.reload_error.errors}`;
  fill("pools", ...(status.pools.length ? status.pools.map((pool) => poolCard(status, pool)) : [nothing("none")]));
  fill("zones", status.zones.length
    ? element("div", "card", table(["zone", "serial", "records", "loaded", "file"], status.zones.map((zone) => zoneRow(status, zone))))
    : nothing("none"));
  fill("sockets", status.sockets.length
    ? element("div", "card", table(["service", "address", "listener", "pool"],
      status.sockets.map((socket) => [socket.service, socket.address, socket.listener ?? "", socket.pool ?? ""])))
    : nothing("none"));
}

async function refresh() {
  const trouble = document.getElementById("trouble");
  try {
    const response = await fetch("api/v1/status", { signal: AbortSignal.timeout(TIMEOUT_MS) });
    const body = await response.json();
    if (!response.ok) throw new Error(body.error ?? `status ${response.status}`);
    show(body);
    trouble.hidden = true;
  } catch (error) {
    trouble.textContent = `No status from the server: ${error.message}. What is shown below is old.`;
    trouble.hidden = false;
  }
  document.body.classList.toggle("stale", !trouble.hidden);
  setTimeout(refresh, REFRESH_MS);
}

refresh();

const SHAVEET = document.body.dataset.shaveet;
const ROOMS = document.body.dataset.rooms.split(" ");
const LINES_MAX = 500; // what the page keeps of the talk
const RETRY_MS = 2000;

const $ = (selector) => document.querySelector(selector);
let me = null; // { name, room, client_id, key } while we are in a room
let push = null; // what brings us the room's messages
const mine = new Set(); // every id this page has had: each room knows us by another, and so does a server that was restarted
const seen = new Set(); // what of the talk is on the page

// --- the web application -------------------------------------------------------------------------------------------

async function ask(path, body) {
  const answer = await fetch(path, body && {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  const data = await answer.json();
  if (!answer.ok) throw new Error(data.error);
  return data;
}

// Joins as a new client, and shows what was said before we came.
async function join(name, room) {
  const { client_id, key, channel, history } = await ask("join", { name, room });
  me = { name, room, client_id, key };
  mine.add(client_id);
  for (const { from, data } of history) hearSay(from, parse(data), data);
  return { clientId: client_id, key, channel };
}

async function walkInto(name, room) {
  const { Shaveet } = await import(`${SHAVEET}/static/shaveet.mjs`).catch(() => {
    throw new Error("The push server does not answer. Start it and reload this page.");
  });
  const last = me;
  const client = await join(name, room);
  if (last) leave(last);
  push?.close();
  push = new Shaveet({ ...client, url: SHAVEET, renew: () => join(me.name, me.room) });
  push.on(client.channel, hear);
  push.on("gap", missed);
  // Shaveet does not know us any more: it was started anew, or we were away for very long. Then renew() joins again.
  push.on("expired", () => notice("The connection was lost, joining again"));
}

function leave(member) {
  navigator.sendBeacon("leave", new Blob([JSON.stringify(member)], { type: "application/json" }));
}

// --- what Shaveet tells us -----------------------------------------------------------------------------------------

// Besides what people say, a channel carries Shaveet's own word on who comes (subscribe) and goes (unsubscribe).
function hear({ from, data, system }) {
  const payload = parse(data);
  if (!system) return hearSay(from, payload, data);
  if (payload.type === "subscribe") {
    // Our own: we have just joined, or come back from an absence in which we may have missed others coming and going.
    if (from === me.client_id) return takeRollCall();
    if (!people.has(from)) notice(`${nameOf(from)} joined`);
    mark(from, true);
  } else if (payload.type === "unsubscribe") {
    if (people.has(from) && !mine.has(from)) notice(`${nameOf(from)} left`);
    mark(from, false);
  }
}

function hearSay(from, payload, data) {
  if (payload?.type !== "say" || seen.has(from + data)) return;
  seen.add(from + data);
  if (seen.size > LINES_MAX) seen.delete(seen.values().next().value);
  line(from, payload);
}

// More was said while we were away than the server keeps.
function missed(gap) {
  if (!gap.system) notice("You were away for long: something that was said here is missing");
  takeRollCall();
}

function parse(data) {
  try {
    return JSON.parse(data);
  } catch {
    return null;
  }
}

// --- who is here ---------------------------------------------------------------------------------------------------

let people = new Set(); // client ids
let rollCall = 0; // counts the questions: only the answer to the last one matters
let sinceRollCall = new Map(); // client id -> here or gone, as heard since that question

const nameOf = (client_id) => client_id.slice(0, client_id.lastIndexOf("_"));

async function takeRollCall() {
  const question = ++rollCall;
  sinceRollCall = new Map();
  try {
    const ids = await ask(`here?room=${me.room}`);
    if (question !== rollCall) return;
    // The list may be older or newer than what we heard while we waited for it; the last word heard is right in both cases.
    people = new Set(ids);
    for (const [client_id, isHere] of sinceRollCall) isHere ? people.add(client_id) : people.delete(client_id);
    showPeople();
  } catch {
    if (question === rollCall) setTimeout(takeRollCall, RETRY_MS);
  }
}

function mark(client_id, isHere) {
  sinceRollCall.set(client_id, isHere);
  isHere ? people.add(client_id) : people.delete(client_id);
  showPeople();
}

function showPeople() {
  const others = [...people].filter((id) => !mine.has(id)).sort((a, b) => nameOf(a).localeCompare(nameOf(b)));
  const everybody = [me.client_id, ...others];
  $("#people h2").textContent = everybody.length === 1 ? "Only you are here" : `${everybody.length} are here`;
  $("#here").replaceChildren(...everybody.map((id) => {
    const item = element("li", "person");
    item.append(face(id), element("span", "name", nameOf(id)));
    if (mine.has(id)) item.append(element("span", "you", "you"));
    return item;
  }));
}

// --- the talk ------------------------------------------------------------------------------------------------------

function line(client_id, { text, at_ms }) {
  const item = element("li", mine.has(client_id) ? "message own" : "message");
  const head = element("span", "head");
  const time = new Date(at_ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  head.append(element("span", "name", nameOf(client_id)), element("time", "", time));
  item.append(face(client_id), head, element("span", "text", text));
  item.dataset.from = client_id;
  if ($("#log").lastElementChild?.dataset.from === client_id) item.classList.add("more");
  show(item);
}

function notice(text) {
  show(element("li", "notice", text));
}

function show(item) {
  const log = $("#log");
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 80; // who reads further up is left in peace
  log.append(item);
  while (log.childElementCount > LINES_MAX) log.firstElementChild.remove();
  if (atEnd || item.classList.contains("own")) log.scrollTop = log.scrollHeight;
}

// Everything that comes from people goes into the page as text, never as HTML.
function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

// A round letter; each name has its colour, also when its owner comes back with another id.
function face(client_id) {
  const name = nameOf(client_id);
  const made = element("span", "face", [...name][0].toUpperCase());
  let hash = 0;
  for (const character of name) hash = (hash * 31 + character.codePointAt(0)) % 360;
  made.style.setProperty("--hue", hash);
  made.setAttribute("aria-hidden", "true");
  return made;
}

// --- the page ------------------------------------------------------------------------------------------------------

function submit(form, deed) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("button");
    button.disabled = true;
    form.querySelector(".error").textContent = "";
    try {
      await deed();
    } catch (error) {
      form.querySelector(".error").textContent = error.message;
    }
    button.disabled = false;
  });
}

async function enter(name, room) {
  $("#log").replaceChildren();
  seen.clear();
  people = new Set();
  rollCall++; // an answer that is on its way is of the other room
  await walkInto(name, room);
  sessionStorage.setItem("name", me.name); // so that a reload walks in again
  location.hash = room;
  $("#door").hidden = true;
  $("#room").hidden = false;
  $("#rooms").replaceChildren(...ROOMS.map(door));
  showPeople();
  $("#text").focus();
}

function door(room) {
  const link = element("a", "", room);
  link.href = `#${room}`;
  if (room === me.room) link.setAttribute("aria-current", "page");
  return link;
}

function wanted() {
  const room = location.hash.slice(1);
  return ROOMS.includes(room) ? room : ROOMS[0];
}

addEventListener("hashchange", () => {
  if (me && wanted() !== me.room) enter(me.name, wanted()).catch((error) => notice(error.message));
});

submit($("#door"), () => enter($("#name").value.trim(), wanted()));

let said = Promise.resolve(); // what we have said, until the last of it has arrived

// Nobody waits here: the next message may be typed, and sent, while this one is on its way. It arrives behind it.
submit($("#say"), () => {
  const input = $("#text");
  const text = input.value;
  const { client_id, key } = me;
  input.value = "";
  input.focus();
  said = said.then(() => ask("say", { client_id, key, text })).catch((error) => {
    input.value ||= text;
    $("#say .error").textContent = error.message;
  });
});

$("#leave").addEventListener("click", () => {
  sessionStorage.removeItem("name");
  location.reload();
});

// Says goodbye when the page goes. Should that get lost, Shaveet notices by itself after a while that nobody listens.
// A page runs on for a while after this: one that still listened would hear that it is gone, and renew() would join again.
addEventListener("pagehide", () => {
  push?.close();
  if (me) leave(me);
});

// The browser may have kept the page as it was, and shows it again.
addEventListener("pageshow", ({ persisted }) => {
  if (persisted && me) enter(me.name, me.room).catch((error) => notice(error.message));
});

$("#name").value = sessionStorage.getItem("name") ?? "";
$("#door").hidden = false;
if ($("#name").value) $("#door").requestSubmit();

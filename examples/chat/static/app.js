"use strict";

const ROOM = "chat-room";
const LINES_MAX = 500; // what the page keeps of the talk
const RETRY_MS = 2000;

const $ = (selector) => document.querySelector(selector);
let me = null; // { name, client_id, key } while we are in the room
const mine = new Set(); // every id this page has had: after a restart of the server we get a new one

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

async function join(name) {
  const { client_id, key } = await ask("join", { name });
  if (me) Shaveet.remove(me.client_id);
  me = { name, client_id, key };
  mine.add(client_id);
  Shaveet.init(client_id, key);
}

// Shaveet does not know us any more: it was started anew, or we were away for very long.
async function joinAgain() {
  notice("The connection was lost, joining again");
  for (;;) {
    try {
      return await join(me.name);
    } catch {
      await new Promise((wake) => setTimeout(wake, RETRY_MS));
    }
  }
}

// --- what Shaveet tells us -----------------------------------------------------------------------------------------

// Besides what people say, a channel carries Shaveet's own word on who comes (subscribe) and goes (unsubscribe). The
// payload is what the message says as JSON, null if it is none.
function hear({ client_id, payload }) {
  const type = payload?.type;
  if (type === "subscribe") {
    // Our own: we have just joined, or come back from an absence in which we may have missed others coming and going.
    if (client_id === me.client_id) return takeRollCall();
    if (!people.has(client_id)) notice(`${nameOf(client_id)} joined`);
    mark(client_id, true);
  } else if (type === "unsubscribe") {
    if (people.has(client_id) && !mine.has(client_id)) notice(`${nameOf(client_id)} left`);
    mark(client_id, false);
  } else if (type === "say") {
    if (!people.has(client_id)) mark(client_id, true);
    line(client_id, payload);
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
    const ids = await ask("here");
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

async function enter(name) {
  if (typeof Shaveet === "undefined") throw new Error("The push server does not answer. Start it and reload this page.");
  await join(name);
  sessionStorage.setItem("name", me.name); // so that a reload walks in again
  $("#door").hidden = true;
  $("#room").hidden = false;
  showPeople();
  $("#text").focus();
}

submit($("#door"), () => enter($("#name").value.trim()));

submit($("#say"), async () => {
  const input = $("#text");
  const text = input.value;
  input.value = ""; // at once: the next message may be typed while this one is on its way
  input.focus();
  try {
    await ask("say", { client_id: me.client_id, key: me.key, text });
  } catch (error) {
    input.value ||= text;
    throw error;
  }
});

$("#leave").addEventListener("click", () => {
  sessionStorage.removeItem("name");
  location.reload();
});

// Says goodbye when the page goes. Should that get lost, Shaveet notices by itself after a while that nobody listens.
addEventListener("pagehide", () => {
  if (me) navigator.sendBeacon("leave", new Blob([JSON.stringify(me)], { type: "application/json" }));
});

if (typeof Shaveet !== "undefined") {
  Shaveet.listenSingle(ROOM, hear);
  Shaveet.onClientGone(joinAgain);
}

$("#name").value = sessionStorage.getItem("name") ?? "";
$("#door").hidden = false;
if ($("#name").value) $("#door").requestSubmit();

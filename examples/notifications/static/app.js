const SHAVEET = document.body.dataset.shaveet;
const TITLE = document.title;
const NOTIFICATIONS_MAX = 100; // what the page keeps

const $ = (selector) => document.querySelector(selector);
let me = null; // { name, client_id, key } while we are signed in
let push = null; // what brings us our notifications

// --- the web application -------------------------------------------------------------------------------------------

async function ask(path, body) {
  const answer = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  const data = await answer.json();
  if (!answer.ok) throw new Error(data.error);
  return data;
}

async function join(name) {
  const { client_id, key, channel } = await ask("join", { name });
  me = { name, client_id, key };
  return { clientId: client_id, key, channel };
}

async function signIn(name) {
  const { Shaveet } = await import(`${SHAVEET}/static/shaveet.mjs`).catch(() => {
    throw new Error("The push server does not answer. Start it and reload this page.");
  });
  const client = await join(name);
  // renew: Shaveet does not know us any more. It was started anew, or we were away for very long.
  push = new Shaveet({ ...client, url: SHAVEET, renew: () => join(me.name) });
  push.on(client.channel, hear);
}

// What we have read here is read in our other tabs too.
function read(items) {
  const ids = items.map((item) => Number(item.dataset.id));
  if (ids.length) ask("read", { client_id: me.client_id, key: me.key, ids }).catch(() => markRead(ids));
}

// --- what Shaveet tells us -----------------------------------------------------------------------------------------

// Our channel also carries Shaveet's own word on pages of ours that come and go; here that is no news.
function hear({ id, data, system }) {
  if (system) return;
  const payload = parse(data);
  if (payload?.type === "read") markRead(payload.ids);
  if (payload?.type !== "notification") return;
  $("#list").prepend(entry(id, payload));
  while ($("#list").childElementCount > NOTIFICATIONS_MAX) $("#list").lastElementChild.remove();
  count();
}

function markRead(ids) {
  for (const id of ids) $(`#list [data-id="${Number(id)}"]`)?.classList.remove("unread");
  count();
}

function parse(data) {
  try {
    return JSON.parse(data);
  } catch {
    return null;
  }
}

// Everything that comes from people goes into the page as text, never as HTML.
function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

function entry(id, { from, text, at_ms }) {
  const item = element("li", "unread");
  item.dataset.id = id;
  const reply = element("button", "quiet", "Reply");
  reply.addEventListener("click", () => {
    $("#to").value = from;
    $("#text").focus();
  });
  item.addEventListener("click", () => {
    if (item.classList.contains("unread")) read([item]);
  });
  const time = new Date(at_ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  item.append(element("strong", "from", from), element("time", "soft", time), element("span", "text", text), reply);
  return item;
}

function count() {
  const unread = document.querySelectorAll("#list .unread").length;
  document.title = unread ? `(${unread}) ${TITLE}` : TITLE;
  $("#unread").textContent = unread;
  $("#unread").hidden = $("#read").hidden = unread === 0;
  $("#nothing").hidden = $("#list").childElementCount > 0;
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

submit($("#door"), async () => {
  await signIn($("#name").value.trim());
  sessionStorage.setItem("name", me.name); // so that a reload signs in again
  $("#who").textContent = me.name;
  $("#door").hidden = true;
  $("#desk").hidden = false;
  $("#to").focus();
});

submit($("#send"), async () => {
  const to = $("#to").value.trim();
  $("#send .done").textContent = "";
  await ask("notify", { client_id: me.client_id, key: me.key, to, text: $("#text").value });
  $("#text").value = "";
  $("#send .done").textContent = `Sent to ${to}.`;
});

$("#read").addEventListener("click", () => {
  read([...document.querySelectorAll("#list .unread")]);
});

$("#leave").addEventListener("click", () => {
  sessionStorage.removeItem("name");
  location.reload();
});

// Signs out when the page goes. Should that get lost, Shaveet notices by itself after a while that nobody listens.
// A page runs on for a while after this: one that still listened would hear that it is gone, and renew() would sign in again.
addEventListener("pagehide", () => {
  push?.close();
  if (me) navigator.sendBeacon("leave", new Blob([JSON.stringify(me)], { type: "application/json" }));
});

// The browser may have kept the page as it was, and shows it again.
addEventListener("pageshow", ({ persisted }) => {
  if (persisted && me) signIn(me.name).catch(() => location.reload());
});

$("#name").value = sessionStorage.getItem("name") ?? "";
$("#door").hidden = false;
if ($("#name").value) $("#door").requestSubmit();

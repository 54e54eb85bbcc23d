"use strict";

const $ = (selector) => document.querySelector(selector);
const list = $("#orders");

function show({ id, name, drink, ready }) {
  let item = list.querySelector(`[data-id="${id}"]`);
  if (item && item.dataset.ready) return; // what is ready stays so, in whatever order we hear it
  if (ready && list.dataset.staff) return item?.remove() ?? count();
  if (!item) list.append(item = document.createElement("li"));
  Object.assign(item.dataset, { id, ready: ready ? "yes" : "" });
  item.replaceChildren(text("strong", drink));
  if (list.dataset.staff) {
    const button = text("button", "Ready");
    button.addEventListener("click", () => post(`ready/${id}`));
    item.append(text("span", `for ${name}`), button);
  } else {
    item.append(text("span", ready ? "is ready!" : "is being made"));
  }
  count();
}

function count() {
  $("#nothing").hidden = list.childElementCount > 0;
}

// Everything that comes from people goes into the page as text, never as HTML.
function text(tag, content) {
  const made = document.createElement(tag);
  made.textContent = content;
  return made;
}

function post(path, values = {}) {
  const headers = { "X-CSRFToken": document.body.dataset.token };
  return fetch(path, { method: "POST", headers, body: new URLSearchParams(values) });
}

if (list) {
  // First what the page was rendered with, then what is published: an order, as it is now.
  for (const { dataset } of document.querySelectorAll("template.order")) show(dataset);
  for (const button of document.querySelectorAll("[data-drink]")) {
    if (button.localName === "button") button.addEventListener("click", () => post("order", { drink: button.dataset.drink }));
  }
  if (window.Shaveet) {
    Shaveet.listenSingle("*", ({ system, payload }) => { if (!system) show(payload); });
    Shaveet.onGap((gap) => { if (!gap.system) location.reload(); });
    // The server was started anew, or we were away for long: what happened meanwhile the database knows.
    Shaveet.onClientGone(() => location.reload());
  }
  count();
}

"use strict";

const byId = (id) => document.getElementById(id);
const make = (name, properties = {}, ...children) => {
  const node = Object.assign(document.createElement(name), properties);
  node.append(...children);
  return node;
};
let collections = [], asked = null, turn = 0, token = sessionStorage.getItem("token") ?? "";

// Every call of the interface: with the token, and with one sentence for what goes wrong.
async function call(path, options = {}) {
  const headers = { ...(options.headers ?? {}), ...(token ? { Authorization: `Bearer ${token}` } : {}) };
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch {
    throw new Error("The service cannot be reached.");
  }
  if (response.status === 401) byId("token-form").hidden = false;
  if (response.ok) return response;
  const said = await response.json().then((body) => body.error, () => "");
  throw new Error(said || `The service answers with status ${response.status}.`);
}

function say(sentence, problem = false) {
  byId("said").textContent = sentence;
  byId("said").classList.toggle("problem", problem);
}

const plural = (count, word) => `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
const chosen = () => collections.filter((one) => collections.length === 1 || byId(`use-${one.name}`).checked);

async function start() {
  const listed = await (await call("api/collections")).json();
  byId("token-form").hidden = true;
  collections = listed.collections;
  byId("version").textContent = `of hashzoo ${listed.version}`;
  byId("boxes").replaceChildren(...collections.map((one, place) => {
    const box = make("input", { type: "checkbox", id: `use-${one.name}`, checked: place < 2 });
    box.addEventListener("change", () => { if (asked) search(asked); });
    return make("label", {}, box, `${one.name} `, make("span", { className: "quiet", textContent: `${one.method}, ${one.bits} bits` }));
  }));
  byId("choice").hidden = collections.length < 2;
  const takesTexts = collections.some((one) => one.takes.includes("text"));
  byId("text").disabled = !takesTexts;
  byId("drop").hidden = !collections.some((one) => one.takes.includes("image"));
  if (!takesTexts) byId("text").placeholder = "These models take no texts";
  const columns = Object.entries(Object.assign({}, ...collections.map((one) => one.columns)));
  byId("columns-said").textContent = columns.length
    ? `Columns: ${columns.map(([name, kind]) => `${name} ${kind}`).join(", ")}. For example ${columns[0][0]} IS NOT NULL.` : "";
  say(collections.map((one) => `${one.name}: ${plural(one.codes, "code")} of ${one.bits} bits, ${one.method} on ${one.dataset}.`).join(" "));
  const wanted = new URLSearchParams(location.hash.slice(1)).get("q");
  if (wanted) {
    byId("text").value = wanted;
    search({ text: wanted });
  }
}

function options() {
  const found = { k: Number(byId("k").value) || 12 };
  if (byId("radius").value !== "") found.radius = Number(byId("radius").value);
  if (byId("where").value.trim()) found.where = byId("where").value.trim();
  return found;
}

// One search in each chosen collection. What comes back after a later one was begun is left alone.
async function search(query) {
  const mine = ++turn, into = byId("found"), used = chosen();
  asked = query;
  showAsked(query);
  if (query.text !== undefined) history.replaceState(null, "", `#${new URLSearchParams({ q: query.text })}`);
  if (!used.length) return say("Choose a collection.", true);
  into.classList.add("wait");
  say("Searching ...");
  const answers = await Promise.all(used.map((one) => searchIn(one, query).then(
    (answer) => ({ one, answer }), (error) => ({ one, error: error.message }))));
  if (mine !== turn) return;
  into.classList.remove("wait");
  into.classList.toggle("several", used.length > 1);
  into.replaceChildren(...answers.map(section));
  byId("legend").hidden = !answers.some(({ answer }) => answer?.hits.length);
  const count = answers.reduce((sum, { answer }) => sum + (answer?.hits.length ?? 0), 0);
  const failed = answers.find(({ error }) => error);
  say(failed && used.length === 1 ? failed.error : `${plural(count, "hit")}.`, Boolean(failed));
}

async function searchIn(one, query) {
  const address = `api/collections/${encodeURIComponent(one.name)}/search`;
  // What is like an item is found by its id where the same items are; elsewhere by its picture, or else by its words.
  const known = query.from && (query.from.name === one.name || (one.items && query.from.items === one.items));
  const picture = query.file ?? (query.picture && !known ? await (await call(query.picture)).blob() : null);
  if (picture) {
    const response = await call(`${address}/image?${new URLSearchParams(options())}`, {
      method: "POST", body: picture, headers: { "Content-Type": picture.type || "application/octet-stream" } });
    return response.json();
  }
  const what = known ? { id: query.id } : { text: query.text ?? query.words };
  const response = await call(address, {
    method: "POST", body: JSON.stringify({ ...what, ...options() }), headers: { "Content-Type": "application/json" } });
  return response.json();
}

function section({ one, answer, error }) {
  const head = make("h2", { textContent: one.name });
  const about = make("p", { className: "quiet", textContent: `${one.method}, ${one.bits} bits, ${plural(one.codes, "code")}` });
  const made = make("section", { className: "answer" }, head, about);
  made.setAttribute("aria-label", one.name);
  if (error) made.append(make("p", { className: "problem", textContent: error }));
  else if (!answer.hits.length) made.append(make("p", { textContent: "Nothing found." }));
  else {
    const milliseconds = (answer.seconds.encode + answer.seconds.search) * 1000;
    about.textContent += `; ${milliseconds < 10 ? milliseconds.toFixed(1) : Math.round(milliseconds)} ms`;
    made.append(make("ol", { className: "hits" }, ...answer.hits.map((hit) => shown(one, answer, hit))));
  }
  return made;
}

function shown(one, answer, hit) {
  const words = caption(hit.metadata);
  const frame = make("button", { type: "button", className: "frame", title: "More like this" });
  frame.setAttribute("aria-label", `More like ${words || `item ${hit.id}`}`);
  frame.addEventListener("click", () => search({ id: hit.id, from: one, picture: hit.picture, words: words || `item ${hit.id}` }));
  const worded = () => {
    frame.classList.add("words");
    frame.replaceChildren(words || `item ${hit.id}`);
  };
  if (hit.picture) {
    const picture = make("img", { alt: "", loading: "lazy", decoding: "async" });
    picture.addEventListener("error", worded);
    putPicture(picture, hit.picture);
    frame.append(picture);
  } else worded();
  const score = hit.score == null ? "" : `, score ${hit.score.toFixed(2)}`;
  const number = make("div", { className: "number" }, make("b", { textContent: `${plural(hit.distance, "bit")}${score}` }), make("span", { textContent: `id ${hit.id}` }));
  const under = make("div", { className: "under" }, number);
  if (hit.picture && words) under.append(make("p", { className: "caption", textContent: words, title: words }));
  under.append(strip(answer.code, hit.code, answer.bits));
  return make("li", { className: "hit" }, frame, under);
}

// Pictures need the token, which an address cannot carry.
async function putPicture(picture, address) {
  if (!token) {
    picture.src = address;
    return;
  }
  try {
    const content = await (await call(address)).blob();
    picture.src = URL.createObjectURL(content);
    picture.addEventListener("load", () => URL.revokeObjectURL(picture.src), { once: true });
  } catch {
    picture.dispatchEvent(new Event("error"));
  }
}

// What people read of an item: its text, or the first of its metadata.
function caption(metadata) {
  const value = metadata.text ?? metadata.caption ?? metadata.title ?? metadata.key ?? Object.values(metadata).find((one) => one !== null);
  return value == null ? "" : Array.isArray(value) ? value.join(", ") : String(value);
}

// A code as square cells, 16 in a line, 32 of a long one. Bit j is bit j % 8, from the least significant, of byte j // 8.
function strip(one, other, bits) {
  const bit = (code, j) => (parseInt(code.substr(2 * (j >> 3), 2), 16) >> (j & 7)) & 1;
  const across = Math.min(bits <= 64 ? 16 : 32, bits), lines = Math.ceil(bits / across);
  const paths = { "one": "", "zero": "", "one-off": "", "zero-off": "" }, differing = [];
  for (let j = 0; j < bits; j++) {
    const ours = bit(other, j), off = ours !== bit(one, j);
    if (off) differing.push(j);
    paths[`${ours ? "one" : "zero"}${off ? "-off" : ""}`] += `M${(j % across) * 6} ${Math.floor(j / across) * 6}h5v5h-5z`;
  }
  const space = "http://www.w3.org/2000/svg", svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", `0 0 ${across * 6 - 1} ${lines * 6 - 1}`);
  svg.setAttribute("class", "bits");
  svg.setAttribute("role", "img");
  svg.setAttribute("aria-label", differing.length ? `differs in ${differing.length === 1 ? "bit" : "bits"} ${differing.join(", ")}` : "the same code");
  for (const [name, cells] of Object.entries(paths)) {
    const path = document.createElementNS(space, "path");
    path.setAttribute("class", name);
    path.setAttribute("d", cells);
    svg.append(path);
  }
  return svg;
}

// What is looked for, when it is no text: a picture that was given, or that of an item.
function showAsked(query) {
  const picture = byId("asked"), words = byId("asked-text");
  if (picture.dataset.own) URL.revokeObjectURL(picture.dataset.own);
  delete picture.dataset.own;
  picture.hidden = true;
  if (query.text !== undefined) {
    byId("file").value = "";
    words.replaceChildren(make("label", { className: "link", htmlFor: "file", textContent: "Choose a picture" }), make("span", { className: "fine", textContent: ", drop one here, or paste one" }));
    return;
  }
  byId("text").value = "";
  history.replaceState(null, "", location.pathname);
  words.textContent = query.file ? query.file.name : `like ${query.words}`;
  if (query.file) picture.src = picture.dataset.own = URL.createObjectURL(query.file);
  else if (query.picture) putPicture(picture, query.picture);
  picture.hidden = !(query.file || query.picture);
}

function take(file) {
  if (!file) return;
  if (file.type && !file.type.startsWith("image/")) return say(`${file.name} is no picture.`, true);
  search({ file });
}

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = byId("text").value.trim();
  if (text) search({ text });
  else if (asked && asked.text === undefined) search(asked);
  else byId("text").focus();
});
byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = byId("token").value.trim();
  sessionStorage.setItem("token", token);
  begin();
});
byId("file").addEventListener("change", (event) => take(event.target.files[0]));
const drop = byId("drop");
for (const kind of ["dragenter", "dragover"]) document.addEventListener(kind, (event) => { event.preventDefault(); drop.classList.add("over"); });
for (const kind of ["dragleave", "drop"]) document.addEventListener(kind, () => drop.classList.remove("over"));
document.addEventListener("drop", (event) => { event.preventDefault(); take(event.dataTransfer.files[0]); });
document.addEventListener("paste", (event) => take(Array.from(event.clipboardData.files).find((file) => file.type.startsWith("image/"))));
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.matches("input")) return;
  event.preventDefault();
  byId("text").focus();
});

const begin = () => start().catch((error) => say(error.message, true));
begin();

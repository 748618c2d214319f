// The chat of index.html.
import { Chat } from "http://127.0.0.1:8000/client.js";

const $ = (id) => document.getElementById(id);

// The server is the one that client.js came from. An application asks its own server for a fresh token each time. The store lets
// a reload of the page take up where it stopped.
const chat = new Chat({
  token: async () => decodeURIComponent(location.hash.slice(1)),
  storage: { get: (key) => sessionStorage.getItem(key), set: (key, value) => sessionStorage.setItem(key, value) },
});

// What is shown, by the id of the message: what comes from the history may come as an event too.
const shown = new Map();
function show({ id, mine, from, to, text }) {
  if (shown.has(id)) return;
  const item = document.createElement("li");
  item.textContent = mine ? `to ${to}: ${text}` : `${from}: ${text}`; // never innerHTML: texts come as they were sent
  shown.set(id, item);
  $("messages").append(item);
}
chat.on("message", show);
chat.on("state", ({ state }) => ($("state").textContent = state));
chat.connect();

$("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = $("text").value;
  $("text").value = "";
  try {
    await chat.send($("to").value, text); // the event has shown it
  } catch (error) {
    $("state").textContent = `not sent: ${text}: ${error.code}`;
  }
});

// Two users talk through a door behind which servers die: node talk.mjs ADDRESS TOKEN1 TOKEN2 COUNT PAUSES. Each sends COUNT
// messages to the other. It prints a line for each message that was echoed. After so many echoes as PAUSES says, and a few more,
// it waits for a line: so what happens there happens while it talks. Then it prints a line of JSON with what each has seen, and
// ends by itself once the clients are closed.
import { createInterface } from "node:readline";
import { WebSocket } from "ws"; // Node's own keeps the process alive while a dead connection is not closed
import { Chat } from "./client/client.js";

const [address, one, two, count, pauses] = process.argv.slice(2);
const total = 2 * Number(count);
const users = [one, two].map((token) => {
  const seen = [];
  const gaps = [];
  const closes = [];
  // More is under way than one message, and it is found soon that a connection is dead.
  const chat = new Chat({ url: `http://${address}`, token: async () => token, WebSocket, timeout: Infinity, ping: 1_000, reconnect: { cap: 1_000 } });
  chat.on("gap", ({ filled }) => gaps.push(filled));
  chat.on("state", ({ state, code, reason }) => state === "offline" && closes.push(`${code} ${reason}`));
  chat.on("error", (error) => console.error(error));
  let complete;
  const all = new Promise((resolve) => (complete = resolve));
  chat.on("message", ({ text }) => seen.push(text) >= total && complete());
  return { chat, seen, gaps, closes, all };
});
await Promise.all(users.map(({ chat }) => chat.connect()));

// How many messages may be echoed by now. A few are sent while something happens.
const limits = [...pauses.split(",").map((echoes) => Number(echoes) + 20), Infinity];
let echoed = 0;
let goOn = () => {};
const input = createInterface({ input: process.stdin });
input.on("line", () => {
  limits.shift();
  goOn();
});
async function mayGoOn() {
  while (echoed >= limits[0]) {
    await new Promise((resolve) => {
      const waits = goOn;
      goOn = () => (waits(), resolve());
    });
  }
}

// A partner who has lost its connection too may be offline for the server: then nothing was sent.
async function say(from, to, text) {
  await mayGoOn();
  for (;;)
    try {
      await from.chat.send(to.chat.user, text);
      echoed++;
      return console.log(text);
    } catch (error) {
      if (error.code !== "no_user_or_offline") throw error;
      await to.chat.connect();
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
}
async function talk(from, to) {
  const workers = Array.from({ length: 4 }, async (_, worker) => {
    for (let i = worker; i < count; i += 4) await say(from, to, `${from.chat.user} ${i}`);
  });
  await Promise.all(workers);
}
const [a, b] = users;
await Promise.all([talk(a, b), talk(b, a)]);
await Promise.race([Promise.all(users.map(({ all }) => all)), new Promise((resolve) => setTimeout(resolve, 60_000).unref())]);
console.log("all is said");
console.log(JSON.stringify(users.map(({ seen, gaps, closes }) => ({ seen, gaps, closes }))));
for (const { chat } of users) chat.close();
input.close();

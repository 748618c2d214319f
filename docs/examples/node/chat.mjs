// A chat in a terminal: node chat.mjs http://127.0.0.1:8000 TOKEN TARGET. Each line that you type is sent to the user TARGET.
//
//     npm install ./chatting-client-1.0.0.tgz ws      # npm pack makes it: see adapters/web/client/README.md
import { createInterface } from "node:readline";
import { Chat } from "chatting-client";

const [url, token, target] = process.argv.slice(2);
const WebSocket = globalThis.WebSocket ?? (await import("ws")).WebSocket; // Node has one since version 22

// An application asks its own server for a fresh token each time.
const chat = new Chat({ url, WebSocket, token: async () => token });

// Own messages come too, from all devices of the user, as soon as they are stored.
chat.on("message", ({ mine, from, text }) => console.log(mine ? `sent: ${text}` : `${from}: ${text}`));
chat.on("system", ({ text }) => console.log(`platform: ${text}`));
chat.on("state", ({ state, reason }) => console.error(`(${state} ${reason ?? ""})`));
chat.on("gap", ({ since, filled }) => filled || console.error(`(something is missing since ${since.toISOString()})`));
chat.connect();

const sending = [];
for await (const line of createInterface({ input: process.stdin }))
  sending.push(chat.send(target, line).catch(({ code }) => console.log(`not sent: ${line}: ${code}`)));
await Promise.all(sending);
chat.close();

// Not run: tsc reads it, to hold client.d.ts against what users write.
import { Chat, ChatError, type ChatOptions, type Entry, type Invite, type Message, type UserId } from "./client.js";

const options: ChatOptions = { token: async () => null, storage: { get: () => null, set: () => {} }, reconnect: { cap: 1_000 } };
const chat: Chat = new Chat(options);
new Chat({ token: "t", url: "ws://127.0.0.1:8000", WebSocket: class { constructor(public url: string) {} } });

const off: () => void = chat.on("message", (m) => m.text.toUpperCase() + m.from.length + m.time.getTime());
off();
chat.on("readMark", (mark) => (mark.unread ?? 0) + 1);
chat.on("state", ({ state, retryIn }) => state === "offline" && retryIn);
chat.on("gap", ({ filled, since }) => filled || since.getTime());
chat.on("error", ({ code, status }) => code + status);
// @ts-expect-error there is no such event
chat.on("massage", () => {});
// @ts-expect-error ids are strings
chat.on("message", (m) => m.from === 42);

const text = (entry: Entry): string => {
  switch (entry.type) {
    case "message":
    case "system":
      return entry.text;
    case "invite":
      return `${entry.status} ${chat.secondsLeft(entry)}`;
  }
};

export async function use(): Promise<void> {
  await chat.connect();
  const message: Message = await chat.send(42, "hello", { clientId: "m1", timeout: Infinity });
  const invite: Invite = await chat.invite(42n);
  await chat.cancel(invite);
  for await (const page of chat.history(message.partner, { limit: 10, before: message.id })) page.map(text);
  const { value: conversations = [] } = await chat.conversations().next();
  const unread: number = conversations[0].unread + (await chat.markRead("42")).unread;
  const users: UserId[] = [...(await chat.friends()), ...chat.onlineFriends];
  try {
    await chat.block(users[unread]);
  } catch (error) {
    if (error instanceof ChatError) console.log(error.code, error.clientId);
  }
  // @ts-expect-error it is not for others to change
  chat.state = "online";
  chat.close();
}

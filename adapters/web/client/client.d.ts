/**
 * A client of a chatting server, for browsers and Node. It connects, reconnects, sends again what had no answer, and shows
 * each message once.
 *
 * ```js
 * import { Chat } from "http://127.0.0.1:8000/client.js";
 * const chat = new Chat({ token: "TOKEN" }); // of chatting token --user 41
 * chat.on("message", m => console.log(m.from, m.text));
 * chat.connect();
 * await chat.send(42, "hello");
 * ```
 */

/**
 * The id of a user as a decimal string, such as "42". Ids have 64 bits, and a number of JavaScript has 53. So the client
 * returns strings only: compare them with `m.from === "42"`. "0" is the platform, which sends system messages.
 */
export type UserId = string;

/** The id of a user as an argument. A number must be a safe integer. */
export type UserIdLike = string | number | bigint;

export interface ChatOptions {
  /**
   * Returns a token of the user, or null if the user is logged out: then the client closes. It is called for the first
   * login, before a token expires and after the server refused one, so it has to return a fresh token each time. A call
   * that fails is made again, later each time. A plain string is enough for a trial: once the server refuses it, the client
   * tells the error "token" and closes.
   */
  token: string | (() => string | null | Promise<string | null>);
  /**
   * The address of the server, such as "https://chat.example". That of its socket is fine too. By default it is the server
   * that client.js was loaded from, or else the host of the page.
   */
  url?: string;
  /**
   * Keeps the place where the client stopped, so that it also goes on after a reload of the page. By default it is kept
   * in memory only. The keys begin with "chatting.".
   */
  storage?: ChatStorage;
  /** Reads from the history what a reconnect has missed, if the server cannot replay it. Default true. */
  catchUp?: boolean;
  /** For how long send and the invite calls try, in milliseconds. Default 30,000. Infinity is allowed. */
  timeout?: number;
  /** How many calls of send may be unanswered. One more is refused with "queue_full". Default 1,000. */
  maxQueue?: number;
  /**
   * After how many milliseconds of silence the client pings the server. If nothing comes for as long again, it
   * reconnects. Default 5,000.
   */
  ping?: number;
  /** How long to wait before a reconnect, in milliseconds: a random time up to base, doubled each time, up to cap. */
  reconnect?: {
    /** Default 500. */
    base?: number;
    /** Default 30,000. */
    cap?: number;
  };
  /** A WebSocket class. It is required where there is no global one: without any, the constructor throws. Node has one since version 22; for older ones pass that of "ws". */
  WebSocket?: new (url: string) => any;
  /** A fetch function instead of the global one. */
  fetch?: typeof fetch;
}

/** What ChatOptions.storage needs. Both may be asynchronous. */
export interface ChatStorage {
  /** Returns what was set under the key, null or undefined if nothing was. */
  get(key: string): string | null | undefined | Promise<string | null | undefined>;
  /** Keeps the value under the key. It is called at most once a second, and when the client or the page is closed. */
  set(key: string, value: string): unknown;
}

/** What all entries of a conversation have. */
interface EntryBase {
  /** A UUID, the same for all users, on all devices and in the history. */
  id: string;
  /** When the server took it. */
  time: Date;
  /** The other user of the conversation; the user itself in notes to oneself; "0" for the platform. */
  partner: UserId;
  /** Whether it comes late: after a reconnect, or because the user was offline. False in pages of the history. */
  replayed: boolean;
}

/** A message between two users. The sender gets it too: as soon as it does, the message is stored. */
export interface Message extends EntryBase {
  type: "message";
  from: UserId;
  to: UserId;
  /** Whether this user sent it, from this device or another. */
  mine: boolean;
  /** Any text, even an empty one. Show it with textContent, never with innerHTML. */
  text: string;
  /** The name under which this user's device sent it, in the user's own messages that come live. */
  clientId?: string;
}

/** A message of the platform. */
export interface SystemMessage extends EntryBase {
  type: "system";
  partner: "0";
  to: UserId;
  text: string;
  roomId?: string;
  opponent?: UserId;
}

/** A game invite, or what became of one. */
export interface Invite extends EntryBase {
  type: "invite";
  from: UserId;
  to: UserId;
  /** Whether this user did it. With "expired": whether it was this user's invite. */
  mine: boolean;
  /** "invite" opens an invite. The others end that of the same roomId. */
  status: "invite" | "cancel" | "accept" | "decline" | "expired";
  /** Names the invite. Only a cancel that ended nothing has none. */
  roomId?: string;
  /** With "invite": when it expires. See Chat.secondsLeft. */
  expiresAt?: Date;
  clientId?: string;
}

/** Anything that a conversation has. */
export type Entry = Message | SystemMessage | Invite;

/** Somebody has read a conversation up to a message. */
export interface ReadMark {
  type: "readMark";
  id: string;
  time: Date;
  /** Who has read: this user on any device, or the partner. */
  reader: UserId;
  mine: boolean;
  /** The other user of the conversation. */
  partner: UserId;
  /** The last message that was read. */
  messageId: string;
  /** With the user's own marks: how many messages of the partner are still unread. */
  unread?: number;
  replayed: boolean;
}

/** A friend came online or went offline. */
export interface Status {
  user: UserId;
  online: boolean;
  time: Date;
}

/**
 * What the connection is doing.
 *
 * - "connecting": it opens a connection and logs in.
 * - "online": it is logged in.
 * - "offline": it lost the connection and waits to connect again; or the page was left, and the browser keeps it: then it
 *   connects when the user goes back.
 * - "closed": it does nothing: before connect, after close, without a token, after the server replaced it by a newer
 *   connection (code 3409), after the platform banned the user (code 3403), and after the user was erased.
 */
export type State = "connecting" | "online" | "offline" | "closed";

export interface StateChange {
  state: State;
  /** With "offline" and "closed": the close code of the connection, 0 if the client gave it up. */
  code?: number;
  /** With "offline" and "closed": why, in snake_case, if it is known. */
  reason?: string;
  /** With "offline": in how many milliseconds it will connect again. Undefined with the reason "page_left". */
  retryIn?: number;
}

/** The server could not replay what the client missed while it was away. */
export interface Gap {
  /** When the client last heard from the server. */
  since: Date;
  /** From when on nothing is missing. */
  until: Date;
  /** Whether the client has read everything from the history and shown it. If false, read the history again. */
  filled: boolean;
}

/** behind: the history is behind what was shown, so the last entries may be missing. Read the page again a second later. */
export type Page<T> = T[] & { behind?: true };

export interface Conversation {
  partner: UserId;
  last: Entry;
  time: Date;
  /** How many messages of the partner are unread. 1000 means 1000 or more. */
  unread: number;
}

export interface ChatEvents {
  /** A message, of this user too. Each comes once, and those of a conversation come in their order. */
  message: Message;
  /** A message of the platform. */
  system: SystemMessage;
  invite: Invite;
  readMark: ReadMark;
  /** A friend came or went. After a login it comes for each friend whose state differs from what the client knew. */
  status: Status;
  state: StateChange;
  gap: Gap;
  /** Something failed that no promise tells, or a plain token was refused. Without a listener it is printed with console.warn. */
  error: ChatError;
}

/**
 * Why something was not done. The codes are those of the server (docs/protocol.md, "Errors", and the codes of refused
 * requests) and those of the client:
 *
 * - "replaced", "banned", "user_erased": the server closed the client meanwhile, as "closed".
 * - "timeout": no answer in time. The message may still appear.
 * - "closed": close was called meanwhile. The message may still appear.
 * - "queue_full": too many messages wait.
 * - "bad_user": the argument is no id of a user.
 * - "bad_message": the text is no string.
 * - "bad_url", "bad_event", "no_websocket": thrown where the client is used in a wrong way.
 * - "token": the token function failed, or a token was refused.
 * - "network": a request had no answer.
 * - "http": a request was refused without a code; see status.
 */
export class ChatError extends Error {
  code: string;
  /** The HTTP status, for requests. */
  status?: number;
  /** The name of the message. To try again without sending it twice, pass it to send. */
  clientId?: string;
}

export interface SendOptions {
  /**
   * A name for the message: 1 to 64 printable ASCII characters, a new UUID by default. What is sent to the same user
   * under the same name is the same message. Choose it yourself to show a message before it is stored.
   */
  clientId?: string;
  /** Overrides ChatOptions.timeout. */
  timeout?: number;
}

export interface PageOptions {
  /** Entries in a page: at most 100, 50 by default. A page may have fewer. */
  limit?: number;
}

export class Chat {
  /** Throws a ChatError if there is no address of a server, or no WebSocket. */
  constructor(options: ChatOptions);

  /** The user, once the first login is answered. */
  readonly user: UserId | undefined;
  readonly state: State;
  /** The friends who are online, as far as is known. */
  readonly onlineFriends: ReadonlySet<UserId>;
  /** How many calls of send and of the invites are unanswered. */
  readonly unanswered: number;

  /** Calls the listener with each event of a kind. Returns a function that ends it. Throws if there is no such kind. */
  on<K extends keyof ChatEvents>(kind: K, listener: (event: ChatEvents[K]) => void): () => void;
  off<K extends keyof ChatEvents>(kind: K, listener: (event: ChatEvents[K]) => void): void;

  /**
   * Connects, and stays connected until close. Returns once the client is logged in. It rejects only if the client is
   * closed before: failures are tried again, with state and error events.
   */
  connect(): Promise<void>;
  /**
   * Ends the connection, all timers and all requests. Whatever has no answer rejects with "closed". connect may be called
   * again, and takes up where the client stopped.
   */
  close(): void;
  /** Connects at once if the client waits to connect again; otherwise checks the connection. For a "retry" button. */
  retry(): void;

  /**
   * Sends a message. Returns it once it is stored. Its message event has come before, or comes soon, if the client is still
   * reading what it missed. Before a login it waits. Messages to one user keep the order of the calls. It rejects with a
   * ChatError: "no_user_or_offline", "timeout", ….
   */
  send(to: UserIdLike, text: string, options?: SendOptions): Promise<Message>;

  /** Invites a user to a game. The invite returned has a roomId and expires by itself. */
  invite(to: UserIdLike, options?: SendOptions): Promise<Invite>;
  /** Answers an invite of another user. "invite_ended" if it has ended. */
  accept(invite: Invite): Promise<Invite>;
  decline(invite: Invite): Promise<Invite>;
  /** Takes back an own invite. */
  cancel(invite: Invite): Promise<Invite>;
  /** The pending invites from and to this user, oldest first. Ask after a reload: invite events are not repeated. */
  invites(): Promise<Invite[]>;
  /** For how many more seconds an invite is pending, by the clock of the server; 0 if it has expired. */
  secondsLeft(invite: Invite): number;
  /** The time of the server. */
  serverTime(): Date;

  /**
   * Pages of a conversation. Newest first; with after, the entries behind that one, oldest first. "0" is the platform.
   *
   * ```js
   * const pages = chat.history(42);
   * const { value: newest = [] } = await pages.next();   // again as the user scrolls up
   * ```
   */
  history(partner: UserIdLike, options?: PageOptions & { before?: string; after?: string }): AsyncGenerator<Page<Entry>, void, void>;
  /** Pages of the user's conversations, that with the newest entry first. */
  conversations(options?: PageOptions): AsyncGenerator<Page<Conversation>, void, void>;
  /** Marks a conversation as read, up to a message or to the newest. A mark never moves back. */
  markRead(partner: UserIdLike, messageId?: string): Promise<{ unread: number }>;

  /** Nothing that the user sends from now on is shown. The user is not told. */
  block(user: UserIdLike): Promise<void>;
  unblock(user: UserIdLike): Promise<void>;
  blocked(): Promise<UserId[]>;

  /** Watches a user: see the status event. The other user is not told. */
  addFriend(user: UserIdLike): Promise<void>;
  removeFriend(user: UserIdLike): Promise<void>;
  friends(): Promise<UserId[]>;
  /** Whether a user is online. A user who was never seen is not. */
  isOnline(user: UserIdLike): Promise<boolean>;
}

// What the page knows. Views read it and are told when it changed; only this file changes it, but for what a user is writing.

import { announce, nameOf, reasonOf } from "./dom.js";

/** A name for a message. randomUUID is missing on pages that came over plain HTTP from another machine. */
const newName = () => crypto.randomUUID?.() ??
  [...crypto.getRandomValues(new Uint8Array(16))].map(byte => byte.toString(16).padStart(2, "0")).join("");

/** How many entries of one conversation are kept, and how many stay when there are more. */
const MOST = 20000, KEPT = 10000;

/** The entries of a conversation that are known, in their order, and behind them what was not sent yet. */
class Log {
  constructor(model, partner) {
    Object.assign(this, { model, partner, entries: [], ids: new Set(), unsent: [], complete: false, loading: false, readUpTo: "", draft: "" });
  }

  /** Adds what came live. */
  add(entry) {
    this.unsent = this.unsent.filter(item => item.key !== entry.clientId);
    if (this.ids.has(entry.id)) return;
    this.ids.add(entry.id);
    this.entries.push({ ...entry, key: entry.clientId ?? entry.id });
    if (this.entries.length > MOST) {
      for (const old of this.entries.splice(0, this.entries.length - KEPT)) this.ids.delete(old.id);
      this.pages = undefined;
      this.complete = false;
    }
  }

  /** Reads one page more of what is older. */
  async older() {
    if (this.complete || this.loading) return;
    this.loading = true;
    this.model.changed();
    try {
      const before = this.entries[0]?.id;
      this.pages ??= this.model.chat.history(this.partner, { limit: 50, ...before && { before } });
      const pages = this.pages, { value = [], done } = await pages.next();
      if (pages !== this.pages) return;
      if (value.behind) this.lookAgain();
      const unknown = value.filter(entry => !this.ids.has(entry.id)).reverse();
      for (const entry of unknown) this.ids.add(entry.id);
      this.entries.unshift(...unknown.map(entry => ({ ...entry, key: entry.id })));
      this.complete = !!done;
      this.trouble = "";
    } catch (error) {
      this.pages = undefined; // a generator that threw has ended
      this.complete = error.status === 404; // no history is kept
      this.trouble = this.complete ? "" : `Earlier messages could not be read: ${reasonOf(error)}`;
    } finally {
      this.loading = false;
      this.model.changed();
    }
  }

  /** Reads the newest page again and again, until the history is where the log is: just after a node has ended it is not. */
  async lookAgain() {
    if (this.looking) return;
    this.looking = true;
    for (let behind = true, pause = 1000; behind && this.model.state.state !== "closed"; pause = Math.min(2 * pause, 10000)) {
      await new Promise(done => setTimeout(done, pause));
      try {
        const { value = [] } = await this.model.chat.history(this.partner, { limit: 50 }).next();
        behind = value.behind;
        this.#merge(value);
      } catch {
        // The connection is away, or closed. The next look tells.
      }
    }
    this.looking = false;
  }

  /** Puts entries of a page, the newest first, among those that are known. */
  #merge(page) {
    let at = this.entries.length;
    for (const entry of page) {
      const known = this.ids.has(entry.id) ? this.entries.findLastIndex(({ id }) => id === entry.id) : -1;
      if (known >= 0) at = known;
      else if (!this.ids.has(entry.id)) {
        this.ids.add(entry.id);
        this.entries.splice(at, 0, { ...entry, key: entry.id });
      }
    }
    this.model.changed();
  }

  /** Notes up to where the partner has read. Marks may cross: the later message counts, and one that is not loaded is earlier. */
  read(id) {
    const at = wanted => this.entries.findLastIndex(entry => entry.id === wanted);
    if (at(id) >= at(this.readUpTo)) this.readUpTo = id;
  }

  /** All that is shown: what failed stands at the time of the last attempt, and what is under way at the end. */
  shown() {
    const shown = [...this.entries];
    for (const item of this.failed()) shown.splice(shown.findLastIndex(entry => entry.time <= item.time) + 1, 0, item);
    return shown.concat(this.unsent.filter(item => item.state !== "failed"));
  }

  failed() {
    return this.unsent.filter(item => item.state === "failed");
  }

  forget() {
    Object.assign(this, { entries: [], ids: new Set(), pages: undefined, complete: false });
  }
}

export class Model extends EventTarget {
  constructor(chat) {
    super();
    Object.assign(this, {
      chat, logs: new Map(), conversations: new Map(), allListed: false, friends: [], blocked: [], offers: new Map(),
      open: null, watchesFriends: true, state: { state: "connecting" },
    });
    chat.on("message", entry => this.#came(entry));
    chat.on("system", entry => this.#came(entry));
    chat.on("invite", entry => this.#invited(entry));
    chat.on("readMark", mark => this.#read(mark));
    chat.on("status", () => this.changed());
    chat.on("gap", gap => gap.filled || this.#startAnew());
    chat.on("error", error => console.info("chatting:", error.code, error.message));
    chat.on("state", change => {
      this.state = { ...change, at: Date.now() };
      if (change.state === "online") this.#online();
      this.changed();
    });
  }

  /** Has the views drawn once, however much changes until then. */
  changed() {
    if (this.drawing) return;
    this.drawing = true;
    const draw = () => {
      if (!this.drawing) return;
      this.drawing = false;
      this.dispatchEvent(new Event("change"));
    };
    if (document.hidden) setTimeout(draw, 50); // nothing is drawn in the background, but titles and counts are
    else requestAnimationFrame(draw);
  }

  log(partner) {
    if (!this.logs.has(partner)) this.logs.set(partner, new Log(this, partner));
    return this.logs.get(partner);
  }

  /** The conversations, that with the newest entry first. */
  sorted() {
    return [...this.conversations.values()].sort((a, b) => b.time - a.time);
  }

  unread() {
    let sum = 0;
    for (const conversation of this.conversations.values()) sum += conversation.unread;
    return sum;
  }

  #online() {
    for (const log of this.logs.values()) log.trouble = "";
    this.#list(this.chat.friends(), "friends", error => { if (error.status === 404) this.watchesFriends = false; });
    this.#list(this.chat.blocked(), "blocked");
    this.chat.invites().then(pending => {
      this.offers = new Map(pending.map(invite => [invite.roomId, invite]));
      this.changed();
    }, () => {}); // older servers do not know
    this.listTrouble = false;
    if (!this.pages) this.moreConversations();
  }

  #list(asked, name, failed) {
    asked.then(list => { this[name] = list; }, error => failed?.(error)).then(() => this.changed());
  }

  /** Reads one page more of the list of conversations. */
  async moreConversations() {
    if (this.allListed || this.listing) return;
    this.listing = true;
    this.pages ??= this.chat.conversations();
    const pages = this.pages;
    try {
      const { value = [], done } = await pages.next();
      if (pages !== this.pages) return;
      this.#listed(value);
      this.allListed = !!done;
    } catch (error) {
      this.pages = undefined;
      this.allListed = error.status === 404;
      this.listTrouble = true; // until the next login
    } finally {
      this.listing = false;
      this.changed();
    }
  }

  #listed(page) {
    for (const listed of page) {
      const known = this.conversations.get(listed.partner);
      if (!known || known.time <= listed.time) this.conversations.set(listed.partner, listed);
      else known.unread = Math.max(known.unread, listed.unread);
    }
    if (page.behind && !this.relisting && this.state.state !== "closed") this.#listAgain();
  }

  /** Reads the newest conversations once more, when the history may be where the log is. */
  async #listAgain() {
    this.relisting = true;
    await new Promise(done => setTimeout(done, 2000));
    const { value = [] } = await this.chat.conversations().next().catch(() => ({}));
    this.relisting = false;
    this.#listed(value);
    this.changed();
  }

  /** Reads everything again, because something may be missing. */
  #startAnew() {
    for (const log of this.logs.values()) log.forget();
    this.conversations.clear();
    this.pages = undefined;
    this.allListed = false;
    if (this.open) this.log(this.open).older();
    this.moreConversations();
  }

  #came(entry) {
    const { partner } = entry, known = this.conversations.get(partner);
    const counts = !entry.mine && !this.log(partner).ids.has(entry.id) && entry.type !== "invite";
    this.log(partner).add(entry);
    if (!known || known.time <= entry.time) {
      this.conversations.set(partner, { partner, last: entry, time: entry.time, unread: known?.unread ?? 0 });
    }
    if (counts) {
      this.conversations.get(partner).unread++;
      announce(`${nameOf(partner)}: ${entry.text}`);
      this.dispatchEvent(new CustomEvent("heard", { detail: entry }));
    }
    this.changed();
  }

  #invited(entry) {
    if (entry.roomId && entry.status === "invite") {
      if (!entry.replayed || this.chat.secondsLeft(entry) > 0) this.offers.set(entry.roomId, entry);
      if (!entry.mine) {
        announce(`${nameOf(entry.partner)} invites you.`);
        this.dispatchEvent(new CustomEvent("heard", { detail: entry }));
      }
    } else if (entry.roomId) {
      this.offers.delete(entry.roomId);
    }
    this.#came(entry);
  }

  #read(mark) {
    const conversation = this.conversations.get(mark.partner);
    if (mark.mine && conversation && mark.unread !== undefined) conversation.unread = mark.unread;
    if (!mark.mine) this.log(mark.partner).read(mark.messageId);
    this.changed();
  }

  /** The pending invites, the own ones or those of others, that which expires first at the front. */
  pending(mine) {
    const list = [];
    for (const invite of this.offers.values()) {
      if (this.chat.secondsLeft(invite) <= 0) this.offers.delete(invite.roomId);
      else if (invite.mine === mine) list.push(invite);
    }
    return list;
  }

  /** Sends a text, which is shown at once. */
  say(partner, text) {
    const item = { key: newName(), type: "message", mine: true, text };
    this.log(partner).unsent.push(item);
    this.sendAgain(partner, item);
  }

  /** Takes a text from before a reload back, and sends it again if that is wanted. */
  takeBack(partner, item, again) {
    const log = this.log(partner);
    if (log.unsent.some(({ key }) => key === item.key) || log.entries.some(({ key }) => key === item.key)) return;
    log.unsent.push(Object.assign(item, { type: "message", mine: true, state: "failed" }));
    item.trouble ??= "The page was loaded again before there was an answer.";
    if (again) this.sendAgain(partner, item);
    else this.changed();
  }

  /** Sends a text, again under its own name: the server never takes it for a second one. */
  async sendAgain(partner, item) {
    Object.assign(item, { state: "sending", time: this.chat.serverTime() });
    this.changed();
    try {
      await this.chat.send(partner, item.text, { clientId: item.key });
      this.discard(partner, item);
    } catch (error) {
      item.state = "failed";
      item.trouble = reasonOf(error);
      announce(`Not sent: ${item.trouble}`);
      this.changed();
    }
  }

  discard(partner, item) {
    const log = this.log(partner);
    log.unsent = log.unsent.filter(other => other !== item);
    this.changed();
  }

  /** Marks the open conversation as read. */
  async markRead() {
    const conversation = this.conversations.get(this.open);
    if (!conversation?.unread || this.marking || conversation.last.id === this.marked) return;
    this.marking = true;
    try {
      this.marked = conversation.last.id;
      const { unread } = await this.chat.markRead(conversation.partner, this.marked);
      const now = this.conversations.get(conversation.partner);
      if (now) now.unread = unread;
    } catch {
      await new Promise(done => setTimeout(done, 2000));
      this.marked = undefined;
    } finally {
      this.marking = false;
      this.changed();
    }
  }

  /** Adds a user to a list, the friends or the blocked users, or takes it away. */
  async put(list, user, on) {
    const { chat } = this;
    await (list === "friends" ? on ? chat.addFriend(user) : chat.removeFriend(user) : on ? chat.block(user) : chat.unblock(user));
    this[list] = this[list].filter(other => other !== user);
    if (on) this[list].push(user);
    this[list].sort((a, b) => a.length - b.length || (a < b ? -1 : 1));
    this.changed();
  }
}

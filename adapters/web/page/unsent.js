// What a user wrote and did not send, over a reload: in sessionStorage, as the token is, until the user signs out.

const KEY = "chatting.unsent";
/** How many texts and drafts are kept, and how many characters of them. Those of the latest attempts are. */
const MOST = 100, MOST_CHARACTERS = 200000;
/** A text that was under way is sent again after a reload, but not later than this, in milliseconds: nobody expects it any more. */
const SOON = 60000;

/** Keeps what is unsent, and gives it back to a model whose user has logged in. Returns how to end that and forget it all. */
export function keepUnsent(model) {
  let user; // whose texts they are, once the server has said so

  function save() {
    if (!user) return;
    const all = [];
    for (const [partner, { unsent, draft }] of model.logs) {
      if (draft) all.push({ partner, text: draft, time: Infinity });
      for (const { key, text, state, trouble, time } of unsent) all.push({ partner, key, text, state, trouble, time: +time });
    }
    let room = MOST_CHARACTERS;
    const kept = all.sort((a, b) => b.time - a.time).slice(0, MOST).filter(({ text }) => (room -= text.length) >= 0).reverse();
    try {
      if (kept.length) sessionStorage.setItem(KEY, JSON.stringify({ user, kept }));
      else sessionStorage.removeItem(KEY);
    } catch {
      // The browser has no room. Then they end with the page.
    }
  }

  function giveBack() {
    if (user === model.chat.user) return;
    user = model.chat.user;
    let before;
    try {
      before = JSON.parse(sessionStorage.getItem(KEY));
    } catch {
      // It is not ours.
    }
    sessionStorage.removeItem(KEY); // another user must not get it
    if (before?.user !== user) return;
    for (const { partner, key, text, state, trouble, time } of before.kept) {
      const log = model.log(partner);
      if (!key) log.draft ||= text;
      else model.takeBack(partner, { key, text, trouble, time: new Date(time) }, state === "sending" && Date.now() - time < SOON);
    }
  }

  model.chat.on("state", ({ state }) => state === "online" && giveBack());
  addEventListener("pagehide", save);
  document.addEventListener("visibilitychange", () => document.hidden && save()); // a phone may end the page without a word
  return () => {
    user = undefined;
    sessionStorage.removeItem(KEY);
  };
}

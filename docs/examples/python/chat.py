"""A chat in a terminal: python chat.py http://127.0.0.1:8000 TOKEN TARGET

Each line that you type is sent to the user TARGET. Needs Python 3.11 or newer, and: pip install websockets httpx

docs/clients.md explains the steps.
"""

import asyncio
import json
import math
import random
import sys
import time
import uuid
from collections import Counter
from datetime import datetime, timedelta

import httpx
import websockets

REMEMBERED = 8192  # ids of messages that were shown
STOP = {1000, 3403, 3409}  # close codes after which a client does not connect again
OUR_FAULT = {1002, 1003, 1007, 1008}  # which will happen again


class Chat:
    """A connection that is made again when it breaks. Each message is shown once."""

    def __init__(self, url, token):
        self.url, self.token = url.rstrip("/"), token
        self.socket = None
        self.user = None
        self.resume = None  # the place up to which everything was shown
        self.last = None  # the server's time at that place
        self.shown = {}  # ids, the oldest first
        self.unanswered = {}  # frames without an answer by client_msg_id, in the order of the calls
        self.unsure = set()  # those of them that went out on an earlier connection: they may be stored

    async def run(self):
        """Stays connected until the server says not to come back."""
        fails = Counter()  # since a connection that lived for a while
        while True:
            self.logged_in_at, code, reason = math.inf, 1006, ""
            try:
                await self.connection()
            except websockets.ConnectionClosed as closed:
                if closed.rcvd:
                    code, reason = closed.rcvd.code, closed.rcvd.reason
            except (OSError, TimeoutError, httpx.HTTPError, websockets.InvalidHandshake) as error:
                reason = str(error)
            self.socket = None
            print(f"(offline {code} {reason})", file=sys.stderr)
            # An application gets a new token after 3401. This one has only the one.
            if code in STOP or code == 3401:
                raise SystemExit(f"closed with {code} {reason}")
            if code == 1009:
                self.too_long()
            if time.monotonic() - self.logged_in_at >= 5:
                fails.clear()
            await asyncio.sleep(wait(code, fails))

    async def connection(self):
        """Logs in and reads, until the connection ends."""
        address = self.url.replace("http", "ws", 1) + "/ws/chatting/"
        # The pings find a connection that is dead without being closed.
        async with websockets.connect(address, ping_interval=5, ping_timeout=5) as socket:
            login = {"token": self.token, "features": ["resume"]}
            if self.resume:
                login["resume"] = self.resume
            await socket.send(json.dumps(login))
            answer = json.loads(await asyncio.wait_for(socket.recv(), 15))
            self.logged_in_at = time.monotonic()
            self.user = answer["to_id"]
            if self.last and answer.get("recovered") is not True:
                await self.catch_up()  # frames that come meanwhile wait in the socket
            self.passed(answer)
            self.socket = socket
            for frame in list(self.unanswered.values()):
                await socket.send(json.dumps(frame))
            self.unsure = set(self.unanswered)
            while True:
                self.receive(json.loads(await socket.recv()))

    def receive(self, frame):
        kind = frame.get("type")
        if "code" in frame:
            self.refused(frame)
        elif kind == "chat_message" or frame.get("from") == "admin":
            self.answered(frame)  # if it is an echo
            self.show(frame)
        self.passed(frame)

    def passed(self, frame):
        """Notes that everything up to this frame was shown."""
        self.resume = frame.get("resume", self.resume)
        self.last = frame.get("time", self.last)

    def show(self, frame):
        if frame["id"] in self.shown:
            return
        self.shown[frame["id"]] = True
        if len(self.shown) > REMEMBERED:
            del self.shown[next(iter(self.shown))]
        sender = frame.get("from_id", "platform")
        print(f"{'sent' if sender == self.user else sender}: {frame['message']}", flush=True)

    def answered(self, frame):
        name = frame.get("client_msg_id")
        self.unsure.discard(name)
        return self.unanswered.pop(name, None)

    def refused(self, frame):
        name, code = frame.get("client_msg_id"), frame["code"]
        # Of a message that may be stored, "offline" says nothing. Its echo comes when the target is back.
        later = ["unavailable", "unconfirmed"] + ["no_user_or_offline", "mailbox_full"] * (name in self.unsure)
        if code in later or "retry_after_ms" in frame:
            wait = frame.get("retry_after_ms", 500) / 1000 * random.uniform(1, 2)
            asyncio.get_running_loop().call_later(wait, self.transmit, name)
            if code == "unconfirmed":
                self.unsure.add(name)
        elif unanswered := self.answered(frame):
            print(f"not sent: {unanswered['message']}: {code}", flush=True)

    def too_long(self):
        """Gives up the longest frame without an answer: the server does not say which one was too long."""
        if self.unanswered:
            name = max(self.unanswered, key=lambda name: len(json.dumps(self.unanswered[name])))
            print(f"not sent: {self.unanswered[name]['message']}: too_long", flush=True)
            self.answered(self.unanswered[name])

    def send(self, target, message):
        """Sends a message, now or after the next login. The same frame may be sent again: its name makes it the same message."""
        name = str(uuid.uuid4())
        self.unanswered[name] = {"target_id": target, "message": message, "client_msg_id": name}
        self.transmit(name)

    def transmit(self, name):
        async def transmit(socket, frame):
            try:
                await socket.send(json.dumps(frame))
            except websockets.ConnectionClosed:
                pass  # it goes out after the next login

        if self.socket and name in self.unanswered:
            task = asyncio.ensure_future(transmit(self.socket, self.unanswered[name]))
            TASKS.add(task)
            task.add_done_callback(TASKS.discard)

    async def catch_up(self):
        """Shows what the history has and was not shown, because the server cannot replay it."""
        floor = datetime.fromisoformat(self.last) - timedelta(minutes=1)
        headers = {"Authorization": f"Bearer {self.token}"}
        async with httpx.AsyncClient(base_url=f"{self.url}/api/chatting/", headers=headers) as rest:
            changed = []
            async for conversation in pages(rest, "conversations/", "conversations", {}):
                if datetime.fromisoformat(conversation["time"]) < floor:
                    break
                changed.append(conversation["id"])
            for partner in changed:
                missed = []
                async for frame in pages(rest, "messages/", "messages", {"target_id": partner}):
                    if frame["id"] in self.shown or datetime.fromisoformat(frame["time"]) < floor:
                        break
                    missed.append(frame)
                for frame in reversed(missed):
                    if "message" in frame:
                        self.show(frame)


def wait(code, fails):
    """Returns for how many seconds to wait before the next connection. A node that starts or restarts says so: such failures
    are counted apart from others."""
    if code in OUR_FAULT:
        return random.uniform(15, 30)
    kind = code if code in (1012, 1013) else None
    base, cap = {1012: (3, 30), 1013: (2, 60), None: (0.5, 30)}[kind]
    fails[kind] += 1
    return random.uniform(0, min(cap, base * 2 ** min(fails[kind] - 1, 10)))


async def pages(rest, path, name, query):
    """Yields what the pages of a list have, the newest first."""
    while True:
        answer = await rest.get(path, params=query)
        if answer.status_code == 404:
            return  # the server keeps no history
        page = answer.raise_for_status().json()
        for entry in page[name]:
            yield entry
        if page["next"] is None:
            return
        query = {**query, "before": page["next"]}


async def main():
    url, token, target = sys.argv[1:]
    chat = Chat(url, token)
    running = asyncio.ensure_future(chat.run())
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async for line in lines:
        chat.send(int(target), line.decode().rstrip("\n"))
    while chat.unanswered:
        await asyncio.sleep(0.05)
    running.cancel()


TASKS = set()  # what runs, so that it is not collected
asyncio.run(main())

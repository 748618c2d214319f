// A chat in a terminal: dotnet run -- http://127.0.0.1:8000 TOKEN TARGET. Each line that you type is sent to the user TARGET.
//
// It needs .NET 8 and no packages. docs/clients.md explains the steps, and says what differs in Unity.
using System.Diagnostics;
using System.Net.Http.Headers;
using System.Net.WebSockets;
using System.Text;
using System.Text.Json.Nodes;

if (args.Length != 3)
{
    Console.Error.WriteLine("usage: chat ADDRESS TOKEN TARGET");
    return 2;
}
var chat = new Chat(new Uri(args[0]), args[1]);
using var stop = new CancellationTokenSource();
var running = chat.Run(stop.Token);
while (await Console.In.ReadLineAsync() is { } line) chat.Send(long.Parse(args[2]), line);
while (chat.Unanswered > 0 && !running.IsCompleted) await Task.Delay(50);
stop.Cancel();
return await running;

/// <summary>A connection that is made again when it breaks. Each message is shown once.</summary>
sealed class Chat(Uri server, string token)
{
    const int Remembered = 8192; // ids of messages that were shown
    const int LongestFrame = 1 << 20;
    static readonly TimeSpan Silence = TimeSpan.FromSeconds(5);
    static readonly TimeSpan LoginTime = TimeSpan.FromSeconds(15);

    // Lines are typed on one thread, frames come on another.
    readonly object gate = new();
    readonly SemaphoreSlim turn = new(1); // a socket sends one message at a time
    readonly List<JsonObject> unanswered = new(); // frames without an answer, in the order of the calls
    readonly HashSet<JsonObject> written = new(); // those of them that went out
    readonly HashSet<JsonObject> unsure = new(); // those that went out on an earlier connection: they may be stored
    readonly HashSet<string> shown = new();
    readonly Queue<string> shownOrder = new();
    ClientWebSocket? loggedIn;
    Stopwatch? lived; // since the login, if there was one
    long user;
    string? resume; // the place up to which everything was shown
    DateTimeOffset? last; // the server's time at that place

    public int Unanswered
    {
        get { lock (gate) return unanswered.Count; }
    }

    /// <summary>Stays connected until it is stopped (0), or the server says not to come back (1).</summary>
    public async Task<int> Run(CancellationToken stop)
    {
        var fails = new Dictionary<int, int>(); // since a connection that lived for a while
        while (true)
        {
            lived = null;
            var (code, reason) = (1006, "");
            try
            {
                (code, reason) = await Connection(stop);
            }
            catch (Exception error) when (error is WebSocketException or HttpRequestException or OperationCanceledException)
            {
                reason = error.Message;
            }
            lock (gate) loggedIn = null;
            if (stop.IsCancellationRequested) return 0;
            Console.Error.WriteLine($"(offline {code} {reason})");
            // An application gets a new token after 3401. This one has only the one.
            if (code is 1000 or 3401 or 3403 or 3409) return 1;
            if (code == 1009) TooLong();
            if (lived?.Elapsed >= Silence) fails.Clear();
            try
            {
                await Task.Delay(TimeSpan.FromSeconds(Wait(code, fails)), stop);
            }
            catch (OperationCanceledException)
            {
                return 0;
            }
        }
    }

    /// <summary>Returns for how many seconds to wait before the next connection. A node that starts or restarts says so: such
    /// failures are counted apart from others.</summary>
    static double Wait(int code, Dictionary<int, int> fails)
    {
        if (code is 1002 or 1003 or 1007 or 1008) return 15 + 15 * Random.Shared.NextDouble(); // our fault, and it will happen again
        var kind = code is 1012 or 1013 ? code : 0;
        var n = fails.GetValueOrDefault(kind);
        fails[kind] = n + 1;
        var (first, cap) = kind switch { 1012 => (3, 30), 1013 => (2, 60), _ => (0.5, 30) };
        return Random.Shared.NextDouble() * Math.Min(cap, first * Math.Pow(2, n));
    }

    /// <summary>Gives up the longest frame without an answer: the server does not say which one was too long.</summary>
    void TooLong()
    {
        JsonObject? longest;
        lock (gate) longest = unanswered.MaxBy(frame => Encoding.UTF8.GetByteCount(frame.ToJsonString()));
        if (longest is not null && Answered(longest) is { } refused) Console.WriteLine($"not sent: {refused["message"]}: too_long");
    }

    /// <summary>Sends a message, now or after the next login.</summary>
    public void Send(long target, string message)
    {
        // A frame that is sent again under the same name is the same message.
        var frame = new JsonObject { ["target_id"] = target, ["message"] = message, ["client_msg_id"] = Guid.NewGuid().ToString() };
        lock (gate) unanswered.Add(frame);
        _ = Transmit(frame);
    }

    /// <summary>Logs in and reads, until the connection ends.</summary>
    async Task<(int Code, string Reason)> Connection(CancellationToken stop)
    {
        using var socket = new ClientWebSocket();
        using var dead = CancellationTokenSource.CreateLinkedTokenSource(stop);
        using var ending = dead.Token.Register(socket.Abort); // also what waits to be sent
        dead.CancelAfter(LoginTime);
        var address = new UriBuilder(new Uri(server, "ws/chatting/")) { Scheme = server.Scheme == "https" ? "wss" : "ws" }.Uri;
        await socket.ConnectAsync(address, dead.Token);
        var login = new JsonObject { ["token"] = token, ["features"] = new JsonArray("resume") };
        if (resume is not null) login["resume"] = resume;
        await Write(socket, login);
        if (await Read(socket, dead.Token) is not { } answer) return Ended(socket);
        lived = Stopwatch.StartNew();
        user = answer["to_id"]!.GetValue<long>();
        dead.CancelAfter(Timeout.InfiniteTimeSpan);
        if (last is not null && (bool?)answer["recovered"] != true) await CatchUp(last.Value, stop); // frames wait in the socket
        Passed(answer);
        List<JsonObject> again;
        lock (gate)
        {
            loggedIn = socket;
            again = new(unanswered);
            unsure.UnionWith(written);
        }
        dead.CancelAfter(LoginTime);
        foreach (var frame in again) await Transmit(frame);
        var pinging = Ping(socket, dead.Token);
        try
        {
            while (true)
            {
                dead.CancelAfter(2 * Silence); // a connection without any frame for so long is dead
                if (await Read(socket, dead.Token) is not { } frame) return Ended(socket);
                Receive(frame);
            }
        }
        finally
        {
            dead.Cancel();
            await pinging;
        }
    }

    static (int, string) Ended(ClientWebSocket socket) => ((int?)socket.CloseStatus ?? 1006, socket.CloseStatusDescription ?? "");

    async Task Ping(ClientWebSocket socket, CancellationToken dead)
    {
        try
        {
            while (true)
            {
                await Task.Delay(Silence, dead);
                await Write(socket, new JsonObject { ["type"] = "ping" });
            }
        }
        catch (Exception error) when (error is OperationCanceledException or WebSocketException or ObjectDisposedException)
        {
            // The connection has ended.
        }
    }

    void Receive(JsonObject frame)
    {
        if (frame.ContainsKey("code"))
        {
            Refused(frame);
        }
        else if ((string?)frame["type"] == "chat_message" || (string?)frame["from"] == "admin")
        {
            Answered(frame); // if it is an echo
            Show(frame);
        }
        Passed(frame);
    }

    /// <summary>Notes that everything up to this frame was shown.</summary>
    void Passed(JsonObject frame)
    {
        if (frame["resume"] is { } place) resume = (string?)place;
        if (frame["time"] is { } time) last = time.GetValue<DateTimeOffset>();
    }

    void Show(JsonObject frame)
    {
        var id = frame["id"]!.GetValue<string>();
        if (!shown.Add(id)) return;
        shownOrder.Enqueue(id);
        if (shownOrder.Count > Remembered) shown.Remove(shownOrder.Dequeue());
        var sender = (long?)frame["from_id"];
        Console.WriteLine($"{(sender == user ? "sent" : sender?.ToString() ?? "platform")}: {frame["message"]}");
    }

    /// <summary>Returns the frame that this one answers. It has no other answer to come.</summary>
    JsonObject? Answered(JsonObject frame)
    {
        lock (gate)
        {
            var sent = Named(frame);
            if (sent is null) return null;
            unanswered.Remove(sent);
            written.Remove(sent);
            unsure.Remove(sent);
            return sent;
        }
    }

    JsonObject? Named(JsonObject frame)
    {
        var name = (string?)frame["client_msg_id"];
        return name is null ? null : unanswered.Find(sent => (string?)sent["client_msg_id"] == name);
    }

    void Refused(JsonObject frame)
    {
        var code = (string?)frame["code"];
        var wait = (long?)frame["retry_after_ms"];
        JsonObject? again = null;
        lock (gate)
        {
            if (Named(frame) is not { } sent) return;
            // Of a message that may be stored, "offline" says nothing. Its echo comes when the target is back.
            var later = code is "unavailable" or "unconfirmed" || (code is "no_user_or_offline" or "mailbox_full" && unsure.Contains(sent));
            if (code == "unconfirmed") unsure.Add(sent);
            if (later || wait is not null) again = sent;
        }
        if (again is not null) _ = Later((wait ?? 500) * (1 + Random.Shared.NextDouble()), again);
        else if (Answered(frame) is { } refused) Console.WriteLine($"not sent: {refused["message"]}: {code}");
    }

    async Task Later(double milliseconds, JsonObject frame)
    {
        await Task.Delay(TimeSpan.FromMilliseconds(milliseconds));
        bool waits;
        lock (gate) waits = unanswered.Contains(frame);
        if (waits) await Transmit(frame);
    }

    /// <summary>Sends a frame if there is a connection. Otherwise it goes out after the next login.</summary>
    async Task Transmit(JsonObject frame)
    {
        ClientWebSocket? socket;
        lock (gate)
        {
            socket = loggedIn;
            if (socket is null) return;
            if (unanswered.Contains(frame)) written.Add(frame);
        }
        try
        {
            await Write(socket, frame);
        }
        catch (Exception error) when (error is WebSocketException or ObjectDisposedException or InvalidOperationException)
        {
            // It has ended, and the reader knows.
        }
    }

    async Task Write(ClientWebSocket socket, JsonObject frame)
    {
        await turn.WaitAsync();
        try
        {
            var text = new ArraySegment<byte>(Encoding.UTF8.GetBytes(frame.ToJsonString()));
            await socket.SendAsync(text, WebSocketMessageType.Text, true, CancellationToken.None);
        }
        finally
        {
            turn.Release();
        }
    }

    /// <summary>Returns the next frame, null if the server has closed the connection.</summary>
    static async Task<JsonObject?> Read(ClientWebSocket socket, CancellationToken dead)
    {
        var buffer = new byte[8192];
        using var text = new MemoryStream();
        while (text.Length < LongestFrame)
        {
            var part = await socket.ReceiveAsync(new ArraySegment<byte>(buffer), dead);
            if (part.MessageType == WebSocketMessageType.Close) return null;
            text.Write(buffer, 0, part.Count);
            if (part.EndOfMessage) return JsonNode.Parse(text.ToArray())!.AsObject();
        }
        throw new WebSocketException("the frame is too long");
    }

    /// <summary>Shows what the history has and was not shown, because the server cannot replay it.</summary>
    async Task CatchUp(DateTimeOffset since, CancellationToken stop)
    {
        var floor = since - TimeSpan.FromMinutes(1);
        using var rest = new HttpClient { BaseAddress = new Uri(server, "api/chatting/") };
        rest.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", token);
        var changed = new List<long>();
        await foreach (var conversation in Pages(rest, "conversations/?limit=100", "conversations", stop))
        {
            if (conversation["time"]!.GetValue<DateTimeOffset>() < floor) break;
            changed.Add(conversation["id"]!.GetValue<long>());
        }
        foreach (var partner in changed)
        {
            var missed = new Stack<JsonObject>();
            await foreach (var frame in Pages(rest, $"messages/?limit=100&target_id={partner}", "messages", stop))
            {
                if (shown.Contains(frame["id"]!.GetValue<string>()) || frame["time"]!.GetValue<DateTimeOffset>() < floor) break;
                missed.Push(frame);
            }
            foreach (var frame in missed)
                if (frame.ContainsKey("message")) Show(frame);
        }
    }

    /// <summary>Yields what the pages of a list have, the newest first.</summary>
    static async IAsyncEnumerable<JsonObject> Pages(HttpClient rest, string path, string name,
        [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken stop)
    {
        for (string? next = ""; next is not null;)
        {
            using var answer = await rest.GetAsync(next == "" ? path : $"{path}&before={Uri.EscapeDataString(next)}", stop);
            if (answer.StatusCode == System.Net.HttpStatusCode.NotFound) yield break; // the server keeps no history
            answer.EnsureSuccessStatusCode();
            var page = JsonNode.Parse(await answer.Content.ReadAsStringAsync(stop))!.AsObject();
            foreach (var entry in page[name]!.AsArray()) yield return entry!.AsObject();
            next = (string?)page["next"];
        }
    }
}

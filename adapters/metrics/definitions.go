package metrics

import (
	"fmt"
	"slices"

	"github.com/prometheus/client_golang/prometheus"
)

// Name is the name of a metric, as Prometheus knows it.
type Name string

// The metrics, by subject. Those of the Go runtime (go_*) and of the process (process_*) come with the library.
const (
	BuildInfo Name = "chatting_build_info"
	Ready     Name = "chatting_node_ready"

	Connections       Name = "chatting_connections"
	ConnectionsLimit  Name = "chatting_connections_limit"
	ConnectionsClosed Name = "chatting_connections_closed_total"
	Logins            Name = "chatting_logins_total"
	LoginDuration     Name = "chatting_login_duration_seconds"
	Resumes           Name = "chatting_resumes_total"
	FramesReceived    Name = "chatting_frames_received_total"
	FramesSent        Name = "chatting_frames_sent_total"
	BytesReceived     Name = "chatting_received_bytes_total"
	BytesSent         Name = "chatting_sent_bytes_total"
	AnswerDuration    Name = "chatting_answer_duration_seconds"
	Refusals          Name = "chatting_limit_refusals_total"

	HTTPRequests Name = "chatting_http_requests_total"
	HTTPDuration Name = "chatting_http_request_duration_seconds"

	AppendedRecords  Name = "chatting_appended_records_total"
	AppendDuration   Name = "chatting_append_duration_seconds"
	AppendQueueBytes Name = "chatting_append_queue_bytes"
	AppendQueueLimit Name = "chatting_append_queue_limit_bytes"
	AppendStuck      Name = "chatting_append_stuck"
	TailLagRecords   Name = "chatting_tail_lag_records"
	TailLagSeconds   Name = "chatting_tail_lag_seconds"
	DeliveryDuration Name = "chatting_delivery_duration_seconds"
	BrokerErrors     Name = "chatting_broker_errors_total"
	GroupMember      Name = "chatting_group_member"

	HistoryLagRecords Name = "chatting_history_lag_records"
	HistoryStill      Name = "chatting_history_still_seconds"
	OutboxPending     Name = "chatting_outbox_pending"
	IngestedMessages  Name = "chatting_ingested_messages_total"
	DeadLetters       Name = "chatting_dead_letters_total"

	PlatformActs     Name = "chatting_platform_acts_total"
	TextHookAnswers  Name = "chatting_text_hook_answers_total"
	TextHookDuration Name = "chatting_text_hook_duration_seconds"

	Users        Name = "chatting_users"
	WatchedUsers Name = "chatting_watched_users"
	NodesAlive   Name = "chatting_nodes_alive"
	NodeBurials  Name = "chatting_node_burials_total"
	Rebirths     Name = "chatting_node_rebirths_total"

	HeldBytes Name = "chatting_held_bytes"
	HeldLimit Name = "chatting_held_limit_bytes"

	DatabaseConnections Name = "chatting_database_connections"
	DatabaseLimit       Name = "chatting_database_connections_limit"
	DatabaseWaits       Name = "chatting_database_waits_total"
	DatabaseWaitSeconds Name = "chatting_database_wait_seconds_total"
	DatabaseCalls       Name = "chatting_database_calls_total"
	DatabaseDuration    Name = "chatting_database_call_duration_seconds"

	Spans Name = "chatting_trace_spans_total"
)

// kind is the type of a metric.
type kind string

const (
	gauge     kind = "gauge"
	counter   kind = "counter"
	histogram kind = "histogram"
)

// label is a label of a metric, with the values that it may have beside "other". Without values it has those of a set that is fixed
// elsewhere, such as the routes of the API.
type label struct {
	name   string
	values []string
}

// other is the value of a label for what is not in its set.
const other = "other"

// known returns the value as the table has it.
func (l label) known(value string) string {
	if len(l.values) == 0 {
		return value
	}
	if i := slices.Index(l.values, value); i >= 0 {
		return l.values[i]
	}
	return other
}

// definition says what a metric is.
type definition struct {
	name   Name
	kind   kind
	labels []label
	help   string
	// pushed tells that the metric is reported by a part, not read.
	pushed bool
	// buckets are the upper bounds of a histogram for servers that scrape no native ones.
	buckets []float64
}

func (d *definition) labelNames() []string {
	names := make([]string, len(d.labels))
	for i, l := range d.labels {
		names[i] = l.name
	}
	return names
}

func (d *definition) desc() *prometheus.Desc {
	return prometheus.NewDesc(string(d.name), d.help, d.labelNames(), nil)
}

// definitionOf returns the definition of a metric. A name that has none is a mistake in the program.
func definitionOf(name Name) *definition {
	for i := range definitions {
		if definitions[i].name == name {
			return &definitions[i]
		}
	}
	panic(fmt.Sprintf("metrics: %s is not defined", name))
}

// The values of labels.
var (
	topics  = label{"topic", []string{"conversations", "sessions", "presence", "dead_letters", "audit"}}
	tails   = label{"topic", []string{"conversations", "sessions"}}
	groups  = label{"group", []string{"history", "presence-audit", "system-messages"}}
	pools   = label{"pool", []string{"read", "write"}}
	methods = label{"method", []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"}}

	loginOutcomes = label{"outcome", []string{
		"accepted", "no_token", "unauthenticated", "banned", "rate_limited", "unavailable", "unconfirmed", "internal",
	}}
	received = label{"type", []string{"chat_message", "ping", "invite_game", "login", "token_renewal", "refused"}}
	sent     = label{"type", []string{
		"chat_message", "send_status", "pong", "read_mark", "system_message", "invite_game", "login", "error", "token_renewed",
		"token_expiring",
	}}
	limits = label{"limit", []string{
		"frames_per_second", "user_frames_per_second", "user_writes_per_second", "user_logins_per_second",
		"address_logins_per_second", "connections", "connections_per_user", "connections_per_address",
		"address_http_connections", "user_concurrent_requests", "user_outbound_bytes", "outbound_bytes", "inbound_bytes",
	}}
	appendOutcomes = label{"outcome", []string{"appended", "refused", "unconfirmed"}}
	brokerErrors   = label{"kind", []string{"unreachable", "timeout", "broken", "refused"}}
	deadCodes      = label{"code", []string{
		"chatting.empty", "chatting.too_large", "chatting.unreadable", "chatting.unsupported_type", "chatting.invalid_cloudevent",
		"chatting.invalid_json", "chatting.invalid_message", "chatting.no_user_or_offline",
	}}
	platformActs = label{"act", []string{"mute", "unmute", "ban", "unban", "end", "revoke", "announce", "read_texts"}}
	hookOutcomes = label{"outcome", []string{"passed", "rewritten", "refused", "unanswered"}}
	callOutcomes = label{"outcome", []string{"done", "unavailable", "failed"}}
)

// Upper bounds of buckets, in seconds. There is a bound at each deadline that an alert looks at.
var (
	fast = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	slow = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}
)

// definitions is the table of all metrics. docs/metrics.md has the same, in this order.
var definitions = []definition{
	{name: BuildInfo, kind: gauge, labels: []label{{name: "version"}}, pushed: true,
		help: "Always 1. The label says which version runs."},
	{name: Ready, kind: gauge,
		help: "1 once the node has read back the log and lets users in, otherwise 0."},

	{name: Connections, kind: gauge, labels: []label{{"state", []string{"login", "open"}}},
		help: "WebSocket connections that have not logged in yet, and that have."},
	{name: ConnectionsLimit, kind: gauge,
		help: "How many WebSocket connections this node takes. 0 means any number."},
	{name: ConnectionsClosed, kind: counter, labels: []label{{name: "code"}, {name: "reason"}},
		help: "WebSocket connections that have ended, by close code and reason."},
	{name: Logins, kind: counter, labels: []label{loginOutcomes}, pushed: true,
		help: "First frames of connections, by what became of the login."},
	{name: LoginDuration, kind: histogram, buckets: slow, pushed: true,
		help: "From the first frame of a connection to the answer of an accepted login."},
	{name: Resumes, kind: counter, labels: []label{{"outcome", []string{"recovered", "not_recovered"}}},
		help: "Logins that named a resume token, by whether the client got everything that it had missed."},
	{name: FramesReceived, kind: counter, labels: []label{received}, pushed: true,
		help: "Frames of clients, by type. A frame that was answered with an error because of its form or a rate is refused."},
	{name: FramesSent, kind: counter, labels: []label{sent}, pushed: true,
		help: "Frames for clients, by type, as they are queued for a connection."},
	{name: BytesReceived, kind: counter, pushed: true,
		help: "Bytes in the frames of clients."},
	{name: BytesSent, kind: counter, pushed: true,
		help: "Bytes in the frames for clients."},
	{name: AnswerDuration, kind: histogram, labels: []label{{"outcome", []string{"echo", "error"}}}, buckets: fast, pushed: true,
		help: "From reading a message or an invite to its echo or its error frame, as that is queued for the sender."},
	{name: Refusals, kind: counter, labels: []label{limits},
		help: "Refusals by an option limit.*, by the option. With connections_per_user, the oldest connection was closed."},

	{name: HTTPRequests, kind: counter, labels: []label{methods, {name: "route"}, {name: "status"}}, pushed: true,
		help: "Answered HTTP requests. A request without a route is under none."},
	{name: HTTPDuration, kind: histogram, labels: []label{{name: "route"}}, buckets: slow, pushed: true,
		help: "From the whole request to its answer."},

	{name: AppendedRecords, kind: counter, labels: []label{topics, appendOutcomes}, pushed: true,
		help: "Records for the log, by outcome. An unconfirmed one may be in the log, a refused one is not."},
	{name: AppendDuration, kind: histogram, labels: []label{topics}, buckets: fast, pushed: true,
		help: "How long the oldest record of a batch waited until it was on all in-sync replicas."},
	{name: AppendQueueBytes, kind: gauge, labels: []label{topics},
		help: "Bytes that wait for the fullest partition."},
	{name: AppendQueueLimit, kind: gauge, labels: []label{topics},
		help: "Bytes that may wait for one partition."},
	{name: AppendStuck, kind: gauge, labels: []label{topics},
		help: "1 if a partition has not answered for longer than kafka.append_deadline, otherwise 0."},
	{name: TailLagRecords, kind: gauge, labels: []label{tails},
		help: "Records of the topic that its brokers have and this node has not read."},
	{name: TailLagSeconds, kind: gauge, labels: []label{tails},
		help: "How long ago this node had read the partition that is farthest behind to its end. An idle one is read again within a second."},
	{name: DeliveryDuration, kind: histogram, buckets: fast, pushed: true,
		help: "From the time stamp of the last record of an answer of the log to its delivery on this node."},
	{name: BrokerErrors, kind: counter, labels: []label{brokerErrors},
		help: "Requests to brokers without the wanted answer."},
	{name: GroupMember, kind: gauge, labels: []label{groups},
		help: "1 if this node is a member of the consumer group, otherwise 0."},

	{name: HistoryLagRecords, kind: gauge,
		help: "Records of the log that the history does not have yet, over all nodes."},
	{name: HistoryStill, kind: gauge,
		help: "For how long a partition has had records that are not projected, and none of them was. 0 while all go on."},
	{name: OutboxPending, kind: gauge,
		help: "Block changes older than 10 s that this node found unpublished when it last looked. At most 100 are counted."},
	{name: IngestedMessages, kind: counter, labels: []label{{"outcome", []string{"delivered", "dead_letter"}}}, pushed: true,
		help: "Records of the system message topic, by what became of them."},
	{name: DeadLetters, kind: counter, labels: []label{deadCodes}, pushed: true,
		help: "Dead letters that this node has written, by their code."},

	{name: PlatformActs, kind: counter, labels: []label{platformActs}, pushed: true,
		help: "What this node has carried out for the platform: acts on users, announcements, and texts that were read."},
	{name: TextHookAnswers, kind: counter, labels: []label{hookOutcomes}, pushed: true,
		help: "Messages that the text hook was asked about, by its answer. What becomes of unanswered ones hook.on_failure decides."},
	{name: TextHookDuration, kind: histogram, buckets: fast, pushed: true,
		help: "How long messages waited for the answer of the text hook, or until there was none."},

	{name: Users, kind: gauge,
		help: "Users with a connection to this node, or with a session that it still has to end."},
	{name: WatchedUsers, kind: gauge,
		help: "Users whose presence somebody on this node watches."},
	{name: NodesAlive, kind: gauge,
		help: "Nodes that this node takes for alive, itself included."},
	{name: NodeBurials, kind: counter,
		help: "Burials of other nodes that this node has seen in the log, since it started."},
	{name: Rebirths, kind: counter,
		help: "How often this node found itself buried and went on as a new incarnation."},

	{name: HeldBytes, kind: gauge,
		help: "Bytes that are under way for clients: frames, answers and messages that are being received."},
	{name: HeldLimit, kind: gauge,
		help: "limit.outbound_bytes. 0 means any number."},

	{name: DatabaseConnections, kind: gauge, labels: []label{pools, {"state", []string{"idle", "in_use"}}},
		help: "Connections to the database. On PostgreSQL both pools are one, under write."},
	{name: DatabaseLimit, kind: gauge, labels: []label{pools},
		help: "How many connections to the database there may be."},
	{name: DatabaseWaits, kind: counter, labels: []label{pools},
		help: "Calls that waited for a connection to the database."},
	{name: DatabaseWaitSeconds, kind: counter, labels: []label{pools},
		help: "How long calls waited for a connection to the database, in sum."},
	{name: DatabaseCalls, kind: counter, labels: []label{callOutcomes}, pushed: true,
		help: "Queries and transactions, by outcome."},
	{name: DatabaseDuration, kind: histogram, buckets: slow, pushed: true,
		help: "How long queries and transactions took, with waiting for a connection."},

	{name: Spans, kind: counter, labels: []label{{"outcome", []string{"sent", "failed", "dropped"}}},
		help: "Spans by what became of them: the collector took them, did not take them, or the queue was full."},
}

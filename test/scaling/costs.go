package main

// costs are what single operations take. Bytes are those in a topic of three partitions and more, with the batch around the
// record. CPU is user and system time, in microseconds.
type costs struct {
	messageBytes  float64 // a message of 64 bytes of text, in chatting.conversations
	upBytes       float64 // an up or a down, in chatting.sessions
	beatBytes     float64 // a heartbeat
	presenceBytes float64 // a change, in chatting.presence
	sourceBytes   float64 // what a router or a bridge adds to a record: the place that it comes from
	noticeBytes   float64 // what a router tells a node of a friend who comes or goes
	frameBytes    float64 // a message to a client, with its packet
	statusBytes   float64 // a status frame, the same
	rowBytes      float64 // a message in the history, with its indexes

	messageCPU float64 // server, a message with both deliveries, alone in its batch, history off
	historyCPU float64 // server, a message projected
	answerCPU  float64 // server, an answer of Kafka with news, and the next request
	foreignCPU float64 // server, a record of users of other nodes in it
	sessionCPU float64 // server, a session record, whosever it is
	statusCPU  float64 // server, a status frame to one user
	loginCPU   float64 // server, a known user
	routeCPU   float64 // router, a record written to an inbox

	connectionBytes float64 // server, an idle connection that is logged in
	entryBytes      float64 // server, a user who is online anywhere
	nodeBytes       float64 // server, without any user

	appendCPU   float64 // Kafka's leader, a batch of one record
	followCPU   float64 // Kafka's followers together, the same
	fetchCPU    float64 // Kafka, an answer with news
	askedCPU    float64 // Kafka, each partition that the answer is about, up to 16
	fetchedCPU  float64 // Kafka, a record in it
	fetchPause  float64 // seconds between an answer and the next request of the same reader
	hop         float64 // seconds to append a record and read it back
	rowCPU      float64 // PostgreSQL, a message written to the history
	loginSQLCPU float64 // PostgreSQL, a login of a known user
}

// measured are the costs of the document, which says where they come from. Change a figure here, and run
// go test ./test/scaling -update.
var measured = costs{
	messageBytes: 575, upBytes: 175, beatBytes: 242, presenceBytes: 375, sourceBytes: 40, noticeBytes: 120,
	frameBytes: 340, statusBytes: 190, rowBytes: 900,

	messageCPU: 100, historyCPU: 15, answerCPU: 90, foreignCPU: 1.5, sessionCPU: 1, statusCPU: 15, loginCPU: 210, routeCPU: 15,

	connectionBytes: 12_000, entryBytes: 80, nodeBytes: 60e6,

	appendCPU: 45, followCPU: 45, fetchCPU: 70, askedCPU: 9, fetchedCPU: 1.25, fetchPause: 0.0005, hop: 0.001,
	rowCPU: 25, loginSQLCPU: 55,
}

// stream is what goes into one kind of topic in a second.
type stream struct{ records, bytes float64 }

func (s stream) plus(t stream) stream { return stream{s.records + t.records, s.bytes + t.bytes} }

func (s stream) over(n float64) stream { return stream{s.records / n, s.bytes / n} }

func (c costs) messages(n float64) stream { return stream{n, n * c.messageBytes} }
func (c costs) sessions(n float64) stream { return stream{n, n * c.upBytes} }
func (c costs) beats(n float64) stream    { return stream{n, n * c.beatBytes} }
func (c costs) presence(n float64) stream { return stream{n, n * c.presenceBytes} }
func (c costs) copies(n float64) stream   { return stream{n, n * (c.messageBytes + c.sourceBytes)} }
func (c costs) notices(n float64) stream  { return stream{n, n * c.noticeBytes} }

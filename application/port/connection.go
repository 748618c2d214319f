package port

// CloseReason says why the server ends a connection. The socket adapter maps it to a close code.
type CloseReason string

// The reasons for which use cases and delivery end connections.
const (
	CloseSlow     CloseReason = "slow"      // the reader does not keep up with its frames
	CloseHole     CloseReason = "hole"      // the log lost records that may have concerned it
	CloseRestart  CloseReason = "restart"   // the node is going away
	CloseReplaced CloseReason = "replaced"  // its user has too many connections, and this one is the oldest
	CloseCut      CloseReason = "cut"       // at once, without a word: it was closed before and takes too long
	CloseExpired  CloseReason = "expired"   // its token expired
	CloseRevoked  CloseReason = "revoked"   // its token was good, and is refused now
	CloseErased   CloseReason = "erased"    // its user is to be forgotten
	CloseBanned   CloseReason = "banned"    // the platform has banned its user
	CloseEnded    CloseReason = "ended"     // the platform has ended it
	CloseTryLater CloseReason = "try_later" // a part that login needs is away
)

// Feature is the name of something that is only shown to clients that asked for it at login.
type Feature string

// The features.
const (
	// FeatureInvites are the statuses of invites beyond invite and cancel.
	FeatureInvites Feature = "invites"
	// FeatureReadMarks are the user's own read marks, as any of its devices moves them.
	FeatureReadMarks Feature = "read_marks"
	// FeatureReceipts are the read marks of others in their conversations with the user.
	FeatureReceipts Feature = "receipts"
	// FeatureStringIDs are ids of users as decimal strings, in all frames.
	FeatureStringIDs Feature = "string_ids"
	// FeatureResume has frames carry tokens, by which a client takes up later where it stopped.
	FeatureResume Feature = "resume"
	// FeatureTokenRenewal tells when the token expires, and answers a renewal.
	FeatureTokenRenewal Feature = "token_renewal"
)

// Client is what a connection knows of its client.
type Client struct {
	// Address is what its network address is counted under; "" if it is not known.
	Address string
	// Features are those that it named at login, in alphabetical order.
	Features []Feature
}

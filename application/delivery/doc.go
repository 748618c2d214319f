// Package delivery hands the records of the log to the connections of this node, as the tail reads them (Delivery). It decides who
// sees what, keeps events from being seen twice, and says in resume tokens what a client has. What is from before a login
// comes from package replay, by a Handover. It does not send, and it does not know how a connection writes.
package delivery

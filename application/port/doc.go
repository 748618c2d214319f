// Package port declares what several rooms ask of the outside: the logs, the clock, new ids, and which users are known and
// online. It also has the words that they share about connections, and the errors that several use cases return. What only
// one room asks for is declared in that room, beside the use case that needs it.
package port

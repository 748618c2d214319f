// Package notice writes the log lines that clients, or whoever may write a topic, can cause in any number. Each is written at
// most once a second, with a count. Lines that nobody outside can cause go to a logger directly.
package notice

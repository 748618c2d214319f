//go:build race

package contract

// raceDetector tells whether the tests, and so the server, are built with the race detector.
const raceDetector = true

package kafka

import "github.com/segmentio/kafka-go"

// partitioner is the Java client's: murmur2 of the key, so that whoever else writes the topics with a standard client
// writes to the same partition.
var partitioner = kafka.Murmur2Balancer{Consistent: true}

// partitionNumbers returns 0 to count-1, in the form that the partitioner takes.
func partitionNumbers(count int) []int {
	numbers := make([]int, count)
	for i := range numbers {
		numbers[i] = i
	}
	return numbers
}

// partitionOf returns the partition of a key among numbers.
func partitionOf(key []byte, numbers []int) int {
	return partitioner.Balance(kafka.Message{Key: key}, numbers...)
}

package configs

import "fmt"

// didYouMean returns the end of a sentence that names the known name nearest to an unknown one, or "" where none is
// near.
func didYouMean(unknown string, known []string) string {
	if len(unknown) > 100 {
		return ""
	}
	nearest, least := "", max(2, len(unknown)/4)+1
	for _, name := range known {
		if d := distance(unknown, name); d < least {
			nearest, least = name, d
		}
	}
	if nearest == "" {
		return ""
	}
	return fmt.Sprintf(": did you mean %s?", nearest)
}

// distance counts the bytes to insert, delete or replace to turn a into b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}

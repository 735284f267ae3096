package columns

import (
	"cmp"
	"strings"
)

// CompareVersions orders runs of digits by value (sort -V, ls -v).
func CompareVersions(a, b string) int {
	for a != "" && b != "" {
		at, an, ar := versionPart(a)
		bt, bn, br := versionPart(b)
		if d := compareVersionText(at, bt); d != 0 {
			return d
		}
		an, bn = strings.TrimLeft(an, "0"), strings.TrimLeft(bn, "0")
		if d := cmp.Compare(len(an), len(bn)); d != 0 {
			return d
		}
		if d := cmp.Compare(an, bn); d != 0 {
			return d
		}
		a, b = ar, br
	}
	return compareVersionText(a, b)
}

func versionPart(s string) (text, digits, rest string) {
	i := 0
	for i < len(s) && (s[i] < '0' || s[i] > '9') {
		i++
	}
	j := i
	for j < len(s) && s[j] >= '0' && s[j] <= '9' {
		j++
	}
	return s[:i], s[i:j], s[j:]
}

// compareVersionText sorts '~' before the end, letters before other characters.
func compareVersionText(a, b string) int {
	order := func(s string, i int) int {
		if i >= len(s) {
			return 0
		}
		ch := s[i]
		switch {
		case ch == '~':
			return -1
		case ch >= 'A' && ch <= 'Z' || ch >= 'a' && ch <= 'z':
			return int(ch)
		}
		return int(ch) + 256
	}
	for i := 0; i < len(a) || i < len(b); i++ {
		if d := cmp.Compare(order(a, i), order(b, i)); d != 0 {
			return d
		}
	}
	return 0
}

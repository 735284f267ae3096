package text

import (
	"bytes"
	"cmp"
	"math"
	"strconv"
	"strings"
)

// splitNumber takes sign, integer and fraction digits from the start of b, without leading and trailing zeros.
func splitNumber(b []byte) (negative bool, whole, fraction []byte, rest []byte) {
	if len(b) > 0 && b[0] == '-' {
		negative, b = true, b[1:]
	}
	i := 0
	for i < len(b) && b[i] >= '0' && b[i] <= '9' {
		i++
	}
	whole, rest = bytes.TrimLeft(b[:i], "0"), b[i:]
	if len(rest) > 0 && rest[0] == '.' {
		j := 1
		for j < len(rest) && rest[j] >= '0' && rest[j] <= '9' {
			j++
		}
		fraction, rest = bytes.TrimRight(rest[1:j], "0"), rest[j:]
	}
	if len(whole) == 0 && len(fraction) == 0 {
		negative = false
	}
	return negative, whole, fraction, rest
}

// compareNumbers compares decimal numbers of any length (sort -n).
func compareNumbers(a, b []byte) int {
	an, aw, af, _ := splitNumber(a)
	bn, bw, bf, _ := splitNumber(b)
	if an != bn {
		if an {
			return -1
		}
		return 1
	}
	d := cmp.Compare(len(aw), len(bw))
	if d == 0 {
		d = bytes.Compare(aw, bw)
	}
	if d == 0 {
		d = bytes.Compare(af, bf)
	}
	if an {
		return -d
	}
	return d
}

// compareHuman compares numbers with the suffixes of ls -h (sort -h): sign, then suffix, then value.
func compareHuman(a, b []byte) int {
	rank := func(b []byte) int {
		neg, w, f, rest := splitNumber(b)
		if len(w) == 0 && len(f) == 0 {
			return 0
		}
		n := 0
		if len(rest) > 0 {
			n = strings.IndexByte("KMGTPEZY", rest[0]) + 1
			if rest[0] == 'k' {
				n = 1
			}
		}
		if neg {
			return -n - 1
		}
		return n + 1
	}
	if d := cmp.Compare(rank(a), rank(b)); d != 0 {
		return d
	}
	return compareNumbers(a, b)
}

// compareGeneral compares floating point numbers (sort -g); what is no number comes first, then NaN.
func compareGeneral(a, b []byte) int {
	value := func(b []byte) float64 {
		for n := len(b); n > 0; n-- {
			if f, err := strconv.ParseFloat(string(b[:n]), 64); err == nil || !math.IsInf(f, 0) && f != 0 {
				return f
			}
			if n > 40 {
				n = 41
			}
		}
		return math.Inf(-1)
	}
	return cmp.Compare(value(a), value(b))
}

func monthOf(b []byte) int {
	if len(b) < 3 {
		return 0
	}
	i := strings.Index("JANFEBMARAPRMAYJUNJULAUGSEPOCTNOVDEC", strings.ToUpper(string(b[:3])))
	if i < 0 || i%3 != 0 {
		return 0
	}
	return i/3 + 1
}

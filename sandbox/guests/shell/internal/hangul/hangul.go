// Package hangul undoes what happens when a command is typed with the keyboard still on Korean.
//
// It knows the layout 두벌식 (KS X 5002) and how its letters join to syllables (Unicode, chapter 3.12), and nothing of shells.
package hangul

import "strings"

// The keys of each letter on a QWERTY keyboard, in Unicode's order of initial, medial and final letters.
var (
	initials = [...]string{"r", "R", "s", "e", "E", "f", "a", "q", "Q", "t", "T", "d", "w", "W", "c", "z", "x", "v", "g"}
	medials  = [...]string{"k", "o", "i", "O", "j", "p", "u", "P", "h", "hk", "ho", "hl", "y", "n", "nj", "np", "nl", "b", "m", "ml", "l"}
	finals   = [...]string{"", "r", "R", "rt", "s", "sw", "sg", "e", "f", "fr", "fa", "fq", "ft", "fx", "fv", "fg", "a", "q", "qt", "t", "T", "d", "w", "c", "z", "x", "v", "g"}
	// compatibility letters U+3131 to U+3163
	letters = [...]string{"r", "R", "rt", "s", "sw", "sg", "e", "E", "f", "fr", "fa", "fq", "ft", "fx", "fv", "fg", "a", "q", "Q", "qt", "t", "T", "d", "w", "W", "c", "z", "x", "v", "g",
		"k", "o", "i", "O", "j", "p", "u", "P", "h", "hk", "ho", "hl", "y", "n", "nj", "np", "nl", "b", "m", "ml", "l"}
)

// Has reports whether s has a Korean letter or syllable.
func Has(s string) bool {
	for _, r := range s {
		if r >= 0xAC00 && r <= 0xD7A3 || r >= 0x3131 && r <= 0x3163 {
			return true
		}
	}
	return false
}

// Keys gives the Latin keys that were pressed for s: 애찯ㄱ → docker. Other characters stay.
func Keys(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r >= 0xAC00 && r <= 0xD7A3:
			n := int(r - 0xAC00)
			b.WriteString(initials[n/588])
			b.WriteString(medials[n%588/28])
			b.WriteString(finals[n%28])
		case r >= 0x3131 && r <= 0x3163:
			b.WriteString(letters[r-0x3131])
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// Object is the particle for a word that is the object of a sentence: 을 after a consonant, 를 after a vowel.
// Latin words follow how their last letters are usually read in Korean (docker 도커, kubectl 큐브컨트롤, vim 빔, curl 컬, ls 엘에스).
func Object(word string) string {
	runes := []rune(word)
	if len(runes) == 0 {
		return "을(를)"
	}
	last := runes[len(runes)-1]
	if last >= 0xAC00 && last <= 0xD7A3 {
		if (last-0xAC00)%28 != 0 {
			return "을"
		}
		return "를"
	}
	switch {
	case strings.ContainsRune("lmnLMN013678", last):
		return "을"
	case strings.HasSuffix(word, "ng"):
		return "을"
	case len(word) > 2 && strings.ContainsRune("kpbt", last) && strings.ContainsRune("aeiou", runes[len(runes)-2]) && !strings.ContainsRune("aeiou", runes[len(runes)-3]):
		return "을" // a short vowel before a stop is read as a final consonant: 톱(top), 캣(cat)
	}
	return "를"
}

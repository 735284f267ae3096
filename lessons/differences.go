package lessons

import (
	"bytes"
	_ "embed"
	"fmt"
	"strings"
)

//go:embed differences.ko.md
var differencesKo string

//go:embed differences.en.md
var differencesEn string

// Differences is what a lab has that is real, own, a model or missing, as Markdown: the one source of the page, of `drydock differences` and
// of the command of that name in a lab's terminal.
func Differences(lang Lang, version string) string {
	return strings.ReplaceAll((Text{Ko: differencesKo, En: differencesEn}).In(lang), "{version}", version)
}

// DifferencesHTML is the same for the page.
func DifferencesHTML(lang Lang, version string) string {
	var b bytes.Buffer
	if err := markdownParser.Convert([]byte(Differences(lang, version)), &b); err != nil {
		return fmt.Sprintf("<p>%v</p>", err)
	}
	return b.String()
}

package differential

import (
	"regexp"
	"strings"
)

func letters(n int) string { return strings.Repeat("x", n) }

func repeatJoined(text string, n int) string {
	return strings.TrimSuffix(strings.Repeat(text+",", n), ",")
}

var number = regexp.MustCompile(`\d+`)

// quoteNumbers makes strings of the numbers in YAML.
func quoteNumbers(text string) string { return number.ReplaceAllString(text, `"$0"`) }

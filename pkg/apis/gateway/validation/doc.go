// Package validation tells what is wrong with a policy object, by field path. It
// refuses what could never match, too: a limit that does nothing is found out
// when it is needed.
package validation

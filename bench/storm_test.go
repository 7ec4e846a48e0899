package main

import (
	"bytes"
	"io"
	"strings"
	"testing"
)

const auditLines = `{"kind":"Event","stage":"ResponseStarted","verb":"watch","objectRef":{"resource":"pods","apiVersion":"v1"}}
{"kind":"Event","stage":"ResponseComplete","verb":"watch","objectRef":{"resource":"pods","apiVersion":"v1"}}
{"kind":"Event","stage":"ResponseComplete","verb":"list","objectRef":{"resource":"pods","namespace":"default","apiVersion":"v1"}}
{"kind":"Event","stage":"ResponseStarted","verb":"list","objectRef":{"resource":"pods","apiVersion":"v1"}}
{"kind":"Event","stage":"ResponseComplete","verb":"list","objectRef":{"resource":"nodes","apiVersion":"v1"}}
{"kind":"Event","stage":"ResponseComplete","verb":"create","objectRef":{"resource":"subjectaccessreviews","apiGroup":"authorization.k8s.io","apiVersion":"v1"}}
{"kind":"Event","stage":"ResponseComplete","verb":"list","objectRef":{"resource":"pods"`

func TestAuditLogIsCounted(t *testing.T) {
	reads, reviews, err := countAudit(strings.NewReader(auditLines))
	if reads != 2 || reviews != 1 || err != nil {
		t.Errorf("%d reads, %d reviews, %v, want 2 and 1", reads, reviews, err)
	}
}

func TestInitialEventsEndWithTheirBookmark(t *testing.T) {
	bookmark := "BOOKMARK k8s.io/initial-events-end true"
	all := framesOf("pod", "pod "+strings.Repeat("k8s.io/initial-events-end", 100), "BOOKMARK", bookmark, "later")
	want := int64(len(all) - len(framesOf("later")))
	if got, err := initialEvents(bytes.NewReader(all)); got != want || err != nil {
		t.Errorf("%d bytes, %v, want %d", got, err, want)
	}
	if _, err := initialEvents(bytes.NewReader(framesOf("pod"))); err != io.EOF {
		t.Errorf("without: %v", err)
	}
}

func FuzzCountAudit(f *testing.F) {
	f.Add(auditLines)
	f.Fuzz(func(t *testing.T, text string) {
		reads, reviews, err := countAudit(strings.NewReader(text))
		if err != nil || reads+reviews > strings.Count(text, "\n") {
			t.Fatalf("%d reads, %d reviews, %v", reads, reviews, err)
		}
	})
}

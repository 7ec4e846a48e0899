package traffic

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// again is how long a client waits after a watch that could not be opened or did
// not end cleanly.
const again = 50 * time.Millisecond

// event is what matters of a watch event.
type event struct {
	Type   string
	Object struct {
		Metadata struct{ Name, ResourceVersion string }
		Message  string
	}
}

// run watches until the event that it waits for, or until ctx ends.
func (w Watch) run(ctx context.Context, client *http.Client) Watched {
	watched := Watched{Name: w.Name}
	version := w.From
	for {
		content, opened, err := w.follow(ctx, client, &version, &watched)
		switch {
		case content || watched.Failure != "":
			return watched
		case ctx.Err() != nil:
			watched.Failure = fmt.Sprintf("after %d events it has not seen %s", len(watched.Events), w.Until)
			return watched
		case err == nil:
			watched.Ends = append(watched.Ends, End{When: time.Now(), Clean: true})
			continue
		}
		end := End{When: time.Now(), Said: err.Error()}
		if opened {
			watched.Ends = append(watched.Ends, end)
		} else {
			watched.Refusals = append(watched.Refusals, end)
		}
		select {
		case <-ctx.Done():
		case <-time.After(again):
		}
	}
}

// follow opens a watch behind a resource version and reads it to its end: nil is a
// clean one. Content tells that it has seen what it waits for.
func (w Watch) follow(ctx context.Context, client *http.Client, version *string, watched *Watched) (content, opened bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, w.Server+w.Path+"?watch=true&resourceVersion="+*version, nil)
	if err != nil {
		return false, false, err
	}
	r.Header.Set("User-Agent", w.UserAgent)
	r.Header.Set("Accept", "application/json")
	response, err := client.Do(r)
	if err != nil {
		return false, false, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(io.LimitReader(response.Body, saidBytes))
		return false, false, fmt.Errorf("%s: %s", response.Status, said)
	}
	reader := bufio.NewReader(response.Body)
	for {
		line, err := reader.ReadBytes('\n')
		switch {
		case err == io.EOF && len(line) == 0:
			return false, true, nil
		case err == io.EOF:
			// A client would take the part for an event that it cannot read.
			watched.Failure = fmt.Sprintf("the stream ended in the middle of an event, without an error: %.100q", line)
			return false, true, nil
		case err != nil:
			return false, true, fmt.Errorf("with %d bytes of an event: %w", len(line), err)
		}
		var e event
		if err := json.Unmarshal(line, &e); err != nil {
			watched.Failure = fmt.Sprintf("%v in %.100q", err, line)
			return false, true, nil
		}
		if e.Type == "ERROR" {
			watched.Failure = "the watch could not go on where it was: " + e.Object.Message
			return false, true, nil
		}
		*version = e.Object.Metadata.ResourceVersion
		watched.Events = append(watched.Events, e.Type+" "+*version)
		if e.Object.Metadata.Name == w.Until {
			return true, true, nil
		}
	}
}

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// refresh is how often --watch looks. It asks for everything anew, so that it
// goes on with another gateway when one ends.
const refresh = 2 * time.Second

func bindWatch(command *cobra.Command, watch *bool) {
	command.Flags().BoolVarP(watch, "watch", "w", false, "show it again every "+refresh.String())
}

// repeat shows something, once or until ctx ends. Show gets writers for what it
// has to say and for notes.
func (c *cli) repeat(ctx context.Context, watch bool, show func(ctx context.Context, out, notes io.Writer) error) error {
	if !watch {
		return show(ctx, c.out, c.err)
	}
	ticker := c.clock.NewTicker(refresh)
	defer ticker.Stop()
	var last string
	var at time.Time
	for {
		var page bytes.Buffer
		err := show(ctx, &page, &page)
		switch {
		case ctx.Err() != nil:
			return nil
		case err == nil:
			last, at = page.String(), c.clock.Now()
			c.page(last)
		case last == "":
			return err
		default:
			// A gateway that fails is when people look. What was seen last stays.
			message, _, _ := strings.Cut(c.explainError(ctx, err), "\n")
			c.page(fmt.Sprintf("%serror: %s\nThis was %s ago; trying again.\n", last, message, formatTime(c.clock.Since(at))))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C():
		}
	}
}

// page replaces what a terminal shows; elsewhere pages follow each other.
func (c *cli) page(text string) {
	if c.terminal {
		fmt.Fprint(c.out, "\x1b[H\x1b[2J"+text)
		return
	}
	fmt.Fprintln(c.out, text)
}

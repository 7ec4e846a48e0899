package proxy

import (
	"context"
	"io"
	"net"
	"net/http"
	"time"
)

// lingerFor bounds how long a client has to read what was sent to it before its
// connection is closed.
const lingerFor = 5 * time.Second

// tunnel joins the client's connection to the apiserver's after a 101: exec,
// attach, port-forward and whatever a proxied service speaks. It returns when
// either side, or ctx, has ended.
func tunnel(ctx context.Context, w http.ResponseWriter, response *http.Response, flight *flight) {
	server, ok := response.Body.(io.ReadWriteCloser)
	if !ok {
		panic(http.ErrAbortHandler)
	}
	client, buffered, err := flight.client.Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	hangUp := func() {
		client.Close()
		server.Close()
	}
	defer hangUp()
	// A hijacked connection knows of no context.
	defer context.AfterFunc(ctx, hangUp)()
	if err := switchProtocols(client, response); err != nil {
		return
	}

	fromClient := make(chan struct{})
	go func() {
		defer close(fromClient)
		// What the client sent right behind its request sits in the server's buffer.
		_, _ = io.Copy(server, io.MultiReader(io.LimitReader(buffered, int64(buffered.Reader.Buffered())), client))
		server.Close()
		// If it was the apiserver that ended first, the client still sends for a
		// while. To close a connection with bytes unread is to reset it, and a reset
		// overtakes what the client has not read yet: the end of a command's output.
		_, _ = io.Copy(io.Discard, client)
	}()
	_, _ = io.Copy(client, server)
	_ = client.SetReadDeadline(time.Now().Add(lingerFor))
	if half, ok := client.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	} else {
		client.Close()
	}
	<-fromClient
}

// switchProtocols sends the apiserver's 101 response.
func switchProtocols(client net.Conn, response *http.Response) error {
	head := &http.Response{
		StatusCode: response.StatusCode, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{},
	}
	inbound(head.Header, response.Header)
	head.Header["Connection"] = []string{"Upgrade"}
	head.Header["Upgrade"] = response.Header["Upgrade"]
	return head.Write(client)
}

// Command intruder is another user of the gateway's machine: it tries to list,
// read and write the paths that it is given and to connect to them as sockets,
// and writes a line for each attempt that succeeds.
package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"
)

func main() {
	for _, path := range os.Args[1:] {
		try(path)
	}
}

func try(path string) {
	if entries, err := os.ReadDir(path); err == nil {
		fmt.Printf("listed %s: %d entries\n", path, len(entries))
	}
	if data, err := os.ReadFile(path); err == nil {
		fmt.Printf("read %d bytes of %s\n", len(data), path)
	}
	if file, err := os.OpenFile(path, os.O_WRONLY, 0); err == nil {
		file.Close()
		fmt.Printf("opened %s for writing\n", path)
	}
	if file, err := os.Create(filepath.Join(path, "intruder")); err == nil {
		file.Close()
		fmt.Printf("created a file in %s\n", path)
	}
	for _, network := range []string{"unix", "unixpacket"} {
		if conn, err := net.DialTimeout(network, path, time.Second); err == nil {
			conn.Close()
			fmt.Printf("connected to %s\n", path)
		}
	}
}

// A container registry for tests: that of go-containerregistry, in memory, on a free port of 127.0.0.1,
// which is printed as one line. With a user and a password it asks for them; it counts the blobs pulled
// and says how many at /count.
package main

import (
	"crypto/subtle"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	user := flag.String("user", "", "who may ask; empty: everybody")
	password := flag.String("password", "", "the user's password")
	flag.Parse()

	images := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	var blobs atomic.Int64
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/count" {
			fmt.Fprintln(w, blobs.Load())
			return
		}
		if *user != "" {
			name, secret, ok := r.BasicAuth()
			same := subtle.ConstantTimeCompare([]byte(name+":"+secret), []byte(*user+":"+*password)) == 1
			if !ok || !same {
				w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
				w.WriteHeader(http.StatusUnauthorized)
				fmt.Fprintln(w, `{"errors":[{"code":"UNAUTHORIZED","message":"who are you"}]}`)
				return
			}
		}
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/sha256:") {
			blobs.Add(1)
		}
		images.ServeHTTP(w, r)
	})

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr())
	log.Fatal(http.Serve(listener, handler))
}

// A container registry for tests: go-containerregistry's, in memory, on a free port of 127.0.0.1. It prints its
// address as one line. With -user and -password it requires them. /count/<repository> returns the number of blobs
// that were pulled from a repository.
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
	"sync"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	user := flag.String("user", "", "the user; empty: no authentication")
	password := flag.String("password", "", "the password of the user")
	flag.Parse()

	images := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	var lock sync.Mutex
	pulled := map[string]int{}
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if repository, ok := strings.CutPrefix(r.URL.Path, "/count/"); ok {
			lock.Lock()
			defer lock.Unlock()
			fmt.Fprintln(w, pulled[repository])
			return
		}
		if *user != "" {
			name, secret, ok := r.BasicAuth()
			same := subtle.ConstantTimeCompare([]byte(name+":"+secret), []byte(*user+":"+*password)) == 1
			if !ok || !same {
				w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
				w.WriteHeader(http.StatusUnauthorized)
				fmt.Fprintln(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication is required"}]}`)
				return
			}
		}
		repository, _, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), "/blobs/sha256:")
		if ok && r.Method == http.MethodGet {
			lock.Lock()
			pulled[repository]++
			lock.Unlock()
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

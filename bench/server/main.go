// A chat completions server that answers the same after a while: what a client costs is measured
// against it, so it shares no processor time with the client's own language.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

const answer = `{"id":"c","object":"chat.completion","model":"lean","choices":[{"index":0,` +
	`"message":{"role":"assistant","content":"Could you tell me your user id, please?"},` +
	`"finish_reason":"stop"}],"usage":{"prompt_tokens":1000,"completion_tokens":20,"total_tokens":1020}}`

func main() {
	pause, err := strconv.Atoi(os.Args[1])
	if err != nil {
		panic(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Printf("http://%s/v1\n", listener.Addr())
	handle := func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		time.Sleep(time.Duration(pause) * time.Millisecond)
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, answer)
	}
	if err := http.Serve(listener, http.HandlerFunc(handle)); err != nil {
		panic(err)
	}
}

// Stranger checks a proof by the key it was given, and prints what was said.
//
//	stranger KEY proof.json
package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log"
	"os"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type opening struct{ Salt, Bytes []byte }

var proof struct {
	Checkpoint string
	Index      int64
	Entry      []byte
	Path       []tlog.Hash
	Disclosed  map[string]opening
}

func main() {
	log.SetFlags(0)
	text, err := os.ReadFile(os.Args[2])
	must(err)
	must(json.Unmarshal(text, &proof))

	// The head is signed by the log, and the entry stands in the tree under it.
	verifier, err := note.NewVerifier(os.Args[1])
	must(err)
	head, err := note.Open([]byte(proof.Checkpoint), note.VerifierList(verifier))
	must(err)
	var origin, hash string
	var size int64
	_, err = fmt.Sscanf(head.Text, "%s\n%d\n%s\n", &origin, &size, &hash)
	must(err)
	root, err := tlog.ParseHash(hash)
	must(err)
	must(tlog.CheckRecord(proof.Path, size, root, proof.Index, tlog.RecordHash(proof.Entry)))
	fmt.Printf("event %d of %d of %s\n", proof.Index+1, size, origin)

	// The entry commits to the payload, and the payload to each personal value in it.
	payload := proof.Disclosed["0"]
	if !bytes.Equal(committed(0), commitment(0, payload)) {
		log.Fatal("this payload is not the one that was sealed")
	}
	fmt.Printf("%s\n", payload.Bytes)
	for name, value := range proof.Disclosed {
		if len(name) < 43 {
			continue
		}
		bound := base64.RawURLEncoding.EncodeToString(commitment(16, value))
		if bound != name || !bytes.Contains(payload.Bytes, []byte(`"`+name+`"`)) {
			log.Fatal("this value is not the one that was sealed")
		}
		fmt.Printf("%s\n", value.Bytes)
	}
}

// What the entry commits to under an ordinal; after 73 bytes and the kind stand the commitments.
func committed(ordinal byte) []byte {
	rest := proof.Entry[75+int(binary.BigEndian.Uint16(proof.Entry[73:])):]
	for at := 1; at+33 <= len(rest); at += 33 {
		if rest[at] == ordinal {
			return rest[at+1 : at+33]
		}
	}
	return nil
}

func commitment(ordinal byte, value opening) []byte {
	bound := append([]byte("refold/commitment/1"), ordinal)
	bound = append(bound, value.Salt...)
	bound = binary.BigEndian.AppendUint64(bound, uint64(len(value.Bytes)))
	sum := sha256.Sum256(append(bound, value.Bytes...))
	return sum[:]
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

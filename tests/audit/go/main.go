// Others: programs by others, asked by the tests whether they accept what refold made.
//
//	others judge              one JSON question a line on stdin, one JSON answer a line on stdout
//	others witness LOG OWN    a witness (c2sp.org/tlog-witness) on a loopback port that it prints, by the
//	                          keys of the log, or @FILE that will hold it, and of its own
package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"

	"filippo.io/torchwood"
	fnote "github.com/transparency-dev/formats/note"
	"github.com/transparency-dev/witness/persistence/inmemory"
	"github.com/transparency-dev/witness/witness"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type question struct {
	Ask, Text, Key, Folder string
	Size, Old, Index       int64
	Root, OldRoot, Leaf    tlog.Hash
	Path                   []tlog.Hash
}

func main() {
	var err error
	switch os.Args[1] {
	case "judge":
		err = judge()
	case "witness":
		err = serve(os.Args[2], os.Args[3])
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func judge() error {
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 1<<24)
	for in.Scan() {
		var q question
		answer := map[string]string{}
		err := json.Unmarshal(in.Bytes(), &q)
		if err == nil {
			answer["said"], err = q.answer()
		}
		if err != nil {
			answer["refused"] = err.Error()
		}
		line, _ := json.Marshal(answer)
		fmt.Println(string(line))
	}
	return in.Err()
}

func (q question) answer() (string, error) {
	switch q.Ask {
	case "note":
		return q.note()
	case "sign":
		return q.sign()
	case "cosigned":
		return q.cosigned()
	case "checkpoint":
		return q.checkpoint()
	case "record":
		return "", tlog.CheckRecord(q.Path, q.Size, q.Root, q.Index, q.Leaf)
	case "tree":
		return "", tlog.CheckTree(q.Path, q.Size, q.Root, q.Old, q.OldRoot)
	case "tiles":
		return q.tiles()
	case "entries":
		return q.entries()
	}
	return "", errors.New("unknown question")
}

// note opens a note with golang.org/x/mod/sumdb/note.
func (q question) note() (string, error) {
	verifier, err := note.NewVerifier(q.Key)
	if err != nil {
		return "", err
	}
	opened, err := note.Open([]byte(q.Text), note.VerifierList(verifier))
	if err != nil {
		return "", err
	}
	return opened.Text, nil
}

// sign signs a text with golang.org/x/mod/sumdb/note.
func (q question) sign() (string, error) {
	signer, err := note.NewSigner(q.Key)
	if err != nil {
		return "", err
	}
	signed, err := note.Sign(&note.Note{Text: q.Text}, signer)
	return string(signed), err
}

// cosigned opens a note by a witness's cosignature with filippo.io/torchwood.
func (q question) cosigned() (string, error) {
	verifier, err := torchwood.NewCosignatureVerifier(q.Key)
	if err != nil {
		return "", err
	}
	opened, err := note.Open([]byte(q.Text), note.VerifierList(verifier))
	if err != nil {
		return "", err
	}
	return opened.Text, nil
}

// checkpoint verifies a checkpoint with filippo.io/torchwood.
func (q question) checkpoint() (string, error) {
	verifier, err := note.NewVerifier(q.Key)
	if err != nil {
		return "", err
	}
	policy := torchwood.ThresholdPolicy(2,
		torchwood.OriginPolicy(verifier.Name()), torchwood.SingleVerifierPolicy(verifier))
	head, _, err := torchwood.VerifyCheckpoint([]byte(q.Text), policy)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%s %d %s", head.Origin, head.N, head.Hash), nil
}

// reader reads tiles from a folder or from an address.
func (q question) reader() (torchwood.TileReader, error) {
	if strings.HasPrefix(q.Folder, "http") {
		return torchwood.NewTileFetcher(q.Folder)
	}
	return torchwood.NewTileFS(os.DirFS(q.Folder))
}

// tiles proves a record and a smaller tree from tiles, each of which is checked against the root.
func (q question) tiles() (string, error) {
	from, err := q.reader()
	if err != nil {
		return "", err
	}
	tree := tlog.Tree{N: q.Size, Hash: q.Root}
	hashes := torchwood.TileHashReaderWithContext(context.Background(), tree, from)
	proof, err := tlog.ProveRecord(q.Size, q.Index, hashes)
	if err != nil {
		return "", err
	}
	if err := tlog.CheckRecord(proof, q.Size, q.Root, q.Index, q.Leaf); err != nil {
		return "", err
	}
	older, err := tlog.ProveTree(q.Size, q.Old, hashes)
	if err != nil {
		return "", err
	}
	return "", tlog.CheckTree(older, q.Size, q.Root, q.Old, q.OldRoot)
}

// entries reads and checks every entry of a log, and says their hash.
func (q question) entries() (string, error) {
	from, err := q.reader()
	if err != nil {
		return "", err
	}
	client, err := torchwood.NewClient(from)
	if err != nil {
		return "", err
	}
	var all bytes.Buffer
	tree := tlog.Tree{N: q.Size, Hash: q.Root}
	for _, entry := range client.AllEntries(context.Background(), tree, 0) {
		all.Write(entry)
	}
	if err := client.Err(); err != nil {
		return "", err
	}
	return tlog.RecordHash(all.Bytes()).String(), nil
}

// serve runs the witness of github.com/transparency-dev/witness for one log.
func verifierOf(logKey string) (note.Verifier, error) {
	if file, isFile := strings.CutPrefix(logKey, "@"); isFile {
		held, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		logKey = strings.TrimSpace(string(held))
	}
	return note.NewVerifier(logKey)
}

func serve(logKey, witnessKey string) error {
	signer, err := fnote.NewSignerForCosignatureV1(witnessKey)
	if err != nil {
		return err
	}
	own, err := witness.New(context.Background(), witness.Opts{
		Persistence: inmemory.New(),
		Signers:     []note.Signer{signer},
		VerifierForLog: func(_ context.Context, origin string) (note.Verifier, bool, error) {
			verifier, err := verifierOf(logKey)
			return verifier, err == nil && origin == verifier.Name(), err
		},
	})
	if err != nil {
		return err
	}
	at, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(at.Addr())
	mux := http.NewServeMux()
	mux.HandleFunc("POST /add-checkpoint", witness.NewHTTPHandler(own).AddCheckpoint)
	return http.Serve(at, mux)
}
